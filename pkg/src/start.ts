/** How a page's worker comes to life: from a file of its own, which `inline.js` does without. */

/** Starts the worker's script, from beside this file or from where the page says. */
export function startWorker(url: string | URL | undefined): Worker {
  const here = import.meta.url;
  const foreign = /^https?:/.test(here) && new URL(here).origin !== location.origin;
  if (url || foreign) return new Worker(ofThisOrigin(url ?? new URL("worker.js", here)), { type: "module" });
  // Written out in one expression, because that is what bundlers look for.
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}

/**
 * A worker's script must have the page's origin. One that lies elsewhere, on a host of packages, is imported by a script
 * that has it.
 */
function ofThisOrigin(url: string | URL): string {
  const { href, origin } = new URL(url, location.href);
  if (origin === location.origin) return href;
  return URL.createObjectURL(new Blob([`import ${JSON.stringify(href)};`], { type: "text/javascript" }));
}
