/** axe, which looks for what keeps people out: contrast, names, roles, order. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const SCRIPT = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/**
 * What axe objects to, as sentences.
 * @param {import("playwright-core").Page} page
 * @returns {Promise<string[]>}
 */
export async function offences(page) {
  // Evaluated by the debugger, so that the page's security policy does not concern it.
  await page.evaluate(SCRIPT);
  const { violations } = await page.evaluate(() => /** @type {any} */ (globalThis).axe.run());
  return violations.flatMap((/** @type {any} */ { id, help, nodes }) =>
    nodes.map(
      (/** @type {any} */ { target, failureSummary }) =>
        `${id}: ${help} at ${target.flat().join(" ")}: ${failureSummary}`,
    ),
  );
}
