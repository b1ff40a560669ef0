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
  const code = snippets.join("\n").replace('from "cloche"', 'from "/pkg/index.js"');
  await page.route("**/guide-snippets.js", (route) =>
    route.fulfill({ contentType: "text/javascript", body: `${code}\nexport default "the end";` }),
  );
  /** @type {string[]} */
  const said = [];
  page.on("console", (message) => said.push(message.text()));
  const end = await page.evaluate(async () => (await import(/** @type {string} */ ("/guide-snippets.js"))).default);
  assert.equal(end, "the end");
  assert.ok(said.some((line) => /^saved at step 40, \d+ bytes$/.test(line)), "nothing was saved");
  return `${snippets.length} snippets`;
}
