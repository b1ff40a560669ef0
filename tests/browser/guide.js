/** The guide, `pkg/README.md`: its snippets, one after the other, as a page's module. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const GUIDE = [["every snippet of the guide runs", run]];

/** @param {Page} page */
async function run(page) {
  const guide = readFileSync(new URL("../../pkg/README.md", import.meta.url), "utf8");
  const snippets = [...guide.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
  assert.ok(snippets.length >= 6, `found ${snippets.length} snippets`);
  // What the guide fetches is the model that it has exported before.
  const served = `
    const config = files.get("config.json");
    const sha256OfConfig = Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", config)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    await Promise.all([...files].map(([name, bytes]) => keepFile(name, Array.from(bytes))));`;
  const fetching = snippets.findIndex((snippet) => snippet?.includes("sha256OfConfig"));
  const parts = snippets.with(fetching, served + snippets[fetching]);
  const code = parts.join("\n").replace('from "cloche"', 'from "/pkg/index.js"');
  /** @type {Map<string, Buffer>} */
  const folder = new Map();
  await page.exposeFunction("keepFile", (/** @type {string} */ name, /** @type {number[]} */ bytes) => void folder.set(name, Buffer.from(bytes)));
  await page.route("**/resolve/main/*", (route) => {
    const body = folder.get(String(route.request().url().split("/").at(-1)));
    return route.fulfill(body ? { body, contentType: "application/octet-stream" } : { status: 404 });
  });
  await page.route("**/guide-snippets.js", (route) =>
    route.fulfill({ contentType: "text/javascript", body: `${code}\nexport default "the end";` }),
  );
  /** @type {string[]} */
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  const end = await page.evaluate(async () => (await import(/** @type {string} */ ("/guide-snippets.js"))).default);
  assert.equal(end, "the end");
  assert.ok(said.some((line) => /^model\.safetensors: (\d+) of \1 bytes$/.test(line)), "nothing was fetched");
  assert.ok(said.some((line) => /^saved at step 40, \d+ bytes$/.test(line)), "nothing was saved");
  return `${snippets.length} snippets`;
}
