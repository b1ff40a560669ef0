/** The labs in Firefox, on the CPU device: its results, where Chromium's are not the only ones. */
import assert from "node:assert/strict";
import { launchFirefox } from "./stacks.js";

/**
 * A text is read, a model grows, goes on with a text and converses.
 * @param {string} origin
 * @returns {Promise<import("./stacks.js").Outcome>}
 */
export async function labsInFirefox(origin) {
  const name = "in Firefox a text is read, and a model grows and talks";
  const started = performance.now();
  const browser = await launchFirefox();
  try {
    const page = await browser.newPage();
    /** @type {string[]} */
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(`${origin}/#/tokens`);
    await page.waitForFunction(shadowText, { timeout: 60_000 }, "cloche-tokens", "[part=counts]", "73 tokens");
    await page.goto(`${origin}/#/grow?steps=20&device=cpu&start=1`);
    await page.waitForFunction(shadowText, { timeout: 60_000 }, "cloche-trainer", "[part=status]", "Grown: 20 steps");
    const said = await page.evaluate(async () => {
      const prompt = /** @type {any} */ (document.querySelector("cloche-prompt"));
      await prompt.speak();
      return prompt.shadowRoot.querySelector("[part=answers]").textContent.trim();
    });
    assert.match(said, /^Once there was./);
    assert.deepEqual(complaints, []);
    return { name, ms: performance.now() - started, note: JSON.stringify(said) };
  } catch (error) {
    return { name, ms: performance.now() - started, error: String(error) };
  } finally {
    await browser.close();
  }
}

/** Whether a part of an element begins with, or contains, some words. @param {string} tag @param {string} part @param {string} words */
function shadowText(tag, part, words) {
  return document.querySelector(tag)?.shadowRoot?.querySelector(part)?.textContent?.includes(words);
}
