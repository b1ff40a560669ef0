/** The elements on a static page with one script tag. */
import assert from "node:assert/strict";
import { offences } from "./axe.js";

/** @typedef {import("playwright-core").Page} Page */

/** @type {import("./page.js").Scene[]} */
export const ELEMENT_SCENES = [
  ["elements start nothing before a gesture", waitForGesture],
  ["a bad attribute is named in place, and the default is taken", nameBadAttribute],
  ["several elements share one worker, and each shows its trainer's run", shareWorker],
  ["what the model says is text, whatever it says", textOnly],
  ["axe finds no fault with the elements", async (page) => assert.deepEqual(await offences(page), [])],
];

/** @param {Page} page */
async function waitForGesture(page) {
  await page.getByRole("button", { name: "Split it" }).waitFor();
  assert.equal(page.workers().length, 0);
  const controls = page.locator("#first").locator("select, input:not([type=radio])");
  assert.equal(await controls.count(), 1, "all controls but the steps are hidden");
}

/** @param {Page} page */
async function nameBadAttribute(page) {
  const second = page.locator("#second");
  await second.getByText('preset="huge" on <cloche-trainer>: expected one of tiny, nano').waitFor();
  assert.equal(await second.getByLabel("Size").inputValue(), "tiny");
}

/** @param {Page} page */
async function shareWorker(page) {
  const grown = (/** @type {string} */ id) => page.locator(`#${id} [part=status]`).filter({ hasText: /^Grown/ }).waitFor();
  await page.locator("#first").getByRole("button", { name: "Grow" }).click();
  await page.locator("#second [part=status]").filter({ hasText: "Another model is growing" }).waitFor();
  await grown("first");
  await page.locator("#second").getByRole("button", { name: "Grow" }).click();
  await grown("second");
  await page.getByRole("button", { name: "Split it" }).click();
  await page.getByText("4 bytes, 4 tokens of a vocabulary of 257").waitFor();
  const lasts = await page.locator("cloche-loss [role=slider]").evaluateAll((all) => all.map((e) => e.getAttribute("aria-valuetext")));
  assert.match(lasts[0] ?? "", /^step 30: /);
  assert.match(lasts[1] ?? "", /^step 20: /);
  assert.equal(page.workers().length, 1);
}

/** @param {Page} page */
async function textOnly(page) {
  const prompt = page.locator("cloche-prompt");
  await prompt.getByLabel("Your beginning").fill("<img src=x onerror=alert(1)>");
  await prompt.getByRole("button", { name: "Continue" }).click();
  await prompt.locator("[part=answers][aria-busy=false] li").waitFor();
  assert.match((await prompt.locator("li").textContent()) ?? "", /<img src=x/);
  assert.equal(await prompt.locator("li img").count(), 0);
}
