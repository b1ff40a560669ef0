/** The page itself, as a reader uses it. */
import { launchChromium } from "./stacks.js";

/**
 * @param {string} origin
 * @returns {AsyncGenerator<import("./stacks.js").Outcome>}
 */
export async function* checkPage(origin) {
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    const started = performance.now();
    const response = await page.goto(origin);
    yield { name: "the page opens", ms: performance.now() - started, ...(response?.ok() ? {} : { error: "it does not" }) };
  } finally {
    await browser.close();
  }
}
