/**
 * Listens for an event of an element from now on; what it returns waits for the first one and gives its detail.
 * @param {import("playwright-core").Locator} element
 * @param {string} event
 * @returns {Promise<() => Promise<any>>}
 */
export async function heard(element, event) {
  await element.evaluate((target, event) => {
    const heard = new Promise((resolve, reject) => {
      target.addEventListener(event, (e) => resolve(/** @type {CustomEvent} */ (e).detail), { once: true });
      setTimeout(() => reject(new Error(`no ${event} came`)), 30_000);
    });
    heard.catch(() => {});
    Object.assign(target, { heard });
  }, event);
  return () => element.evaluate((target) => /** @type {any} */ (target).heard);
}
