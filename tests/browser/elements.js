/** The elements on a static page with one script tag. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { offences } from "./axe.js";
import { heard } from "./heard.js";

/** @typedef {import("playwright-core").Page} Page */

/** @type {import("./page.js").Scene[]} */
export const ELEMENT_SCENES = [
  ["custom-elements.json names every element, attribute and part", holdManifest],
  ["elements start nothing before a gesture", waitForGesture],
  ["a bad attribute is named in place, and the default is taken", nameBadAttribute],
  ["what a run will take is told where somebody asks", askEstimate],
  ["several elements share one worker, and each shows its trainer's run", shareWorker],
  ["a run rests while nobody sees its trainer, where the page asks for that", restUnseen],
  ["what the model says is text, whatever it says", textOnly],
  ["a look into the model is drawn, read out and filtered", lookInside],
  ["a conversation is asked, answered again, and begun anew", converse],
  ["axe finds no fault with the elements", async (page) => assert.deepEqual(await offences(page), [])],
];

/** @param {Page} page */
async function holdManifest(page) {
  const manifest = JSON.parse(await readFile(new URL("../../pkg/custom-elements.json", import.meta.url), "utf8"));
  const names = (/** @type {{ name: string }[]} */ list) => list.map(({ name }) => name).sort();
  const told = Object.fromEntries(
    manifest.modules[0].declarations.map((/** @type {any} */ { tagName, attributes }) => [tagName, names(attributes)]),
  );
  const found = await page.evaluate(async () => {
    const { ELEMENTS } = await import(/** @type {string} */ ("/pkg/elements.js"));
    const attributes = Object.entries(ELEMENTS).map(([name, element]) => [name, element.observedAttributes.toSorted()]);
    return Object.fromEntries(attributes);
  });
  assert.deepEqual(found, told);
  for (const { tagName, cssParts } of manifest.modules[0].declarations) {
    const shown = await page
      .locator(tagName)
      .first()
      .evaluate((e) => Array.from(e.shadowRoot?.querySelectorAll("[part]") ?? [], (p) => p.part.value));
    const surplus = shown.filter((part) => !names(cssParts).includes(part));
    assert.deepEqual(surplus, [], `parts of <${tagName}> that are not told of`);
  }
}

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
async function askEstimate(page) {
  const second = page.locator("#second");
  const told = (/** @type {RegExp} */ text) => second.locator("[part=estimate]").filter({ hasText: text }).waitFor();
  await second.getByRole("button", { name: "What will it take?" }).click();
  await told(/^1\d\d thousand parameters will read \d+ thousand tokens: .* of memory, and about \d+ s here\.$/);
  await second.getByLabel("Size").selectOption("nano");
  await told(/^80\d thousand parameters/);
  await second.getByLabel("Size").selectOption("tiny");
  await told(/^1\d\d thousand parameters/);
  assert.equal(page.workers().length, 1);
}

/** @param {Page} page */
async function shareWorker(page) {
  const grown = (/** @type {string} */ id) =>
    page
      .locator(`#${id} [part=status]`)
      .filter({ hasText: /^Grown/ })
      .waitFor();
  await page.locator("#first").getByRole("button", { name: "Grow" }).click();
  await page.locator("#second [part=status]").filter({ hasText: "Another model is growing" }).waitFor();
  await grown("first");
  await page.locator("#second").getByRole("button", { name: "Grow" }).click();
  await grown("second");
  await page.getByRole("button", { name: "Split it" }).click();
  await page.getByText("4 bytes, 4 tokens of a vocabulary of 257").waitFor();
  const lasts = await page
    .locator("cloche-loss [role=slider]")
    .evaluateAll((all) => all.map((e) => e.getAttribute("aria-valuetext")));
  assert.match(lasts[0] ?? "", /^step 30: /);
  assert.match(lasts[1] ?? "", /^step 20: /);
  assert.equal(page.workers().length, 1);
}

/** @param {Page} page */
async function restUnseen(page) {
  const first = page.locator("#first");
  const status = (/** @type {RegExp} */ text) => first.locator("[part=status]").filter({ hasText: text });
  await first.evaluate((trainer) => Object.assign(trainer, { pauseHidden: true, steps: 100_000 }));
  await first.getByRole("button", { name: "Grow" }).click();
  await status(/^Step [1-9]/).waitFor();
  await first.evaluate((trainer) => (trainer.style.marginTop = "500vh"));
  await status(/^Paused/).waitFor({ state: "attached" });
  await first.evaluate((trainer) => (trainer.style.marginTop = ""));
  await first.scrollIntoViewIfNeeded();
  await status(/^Step /).waitFor();
  await first.getByRole("button", { name: "Stop" }).click();
  await status(/^Stopped/).waitFor();
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

/** The element's part is what is tested here: the engine answers with numbers that are known. @param {Page} page */
async function lookInside(page) {
  await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const next = [0.5, 0.3, 0.15, 0.05].map((probability, id) => ({ token: "abcd"[id], id, probability }));
    const attention = Float32Array.from([1, 0, 0, 0.25, 0.75, 0, 0.125, 0.25, 0.625]);
    Cloche.prototype.probe = async (/** @type {string} */ text) => ({ tokens: [...text].slice(0, 3), next, attention });
    // As if the model had learnt meanwhile, so that they look again.
    const { greenhouse } = await import(/** @type {string} */ ("/pkg/elements.js"));
    greenhouse.version += 1;
    for (const element of document.querySelectorAll("cloche-next-token, cloche-attention"))
      /** @type {any} */ (element).requestUpdate();
  });
  const bars = page.locator("cloche-next-token");
  await bars.scrollIntoViewIfNeeded();
  const drawn = () => bars.locator("tbody tr td:last-child").allTextContents();
  await bars.locator("tbody tr").filter({ hasText: "50.0" }).waitFor();
  assert.deepEqual(await drawn(), ["50.0", "30.0", "15.0"]);
  await bars.getByLabel("Top-k").fill("2");
  assert.deepEqual(await drawn(), ["62.5", "37.5", "0.0"]);
  await bars.getByLabel("Temperature").fill("0");
  assert.deepEqual(await drawn(), ["100.0", "0.0", "0.0"]);
  await bars.getByRole("button", { name: "Go on with b" }).click();
  assert.equal(await bars.getByLabel("The text so far").inputValue(), "Once there wasb");

  const map = page.locator("cloche-attention");
  await map.scrollIntoViewIfNeeded();
  await map.locator("[part=reading]").filter({ hasText: "0.625" }).waitFor();
  const cursor = map.getByRole("slider");
  await cursor.focus();
  const reading = () => cursor.getAttribute("aria-valuetext");
  assert.equal(await reading(), "“c” (2) looks at “c” (2): 0.625");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await reading(), "“c” (2) looks at “b” (1): 0.250");
  await page.keyboard.press("ArrowUp");
  assert.equal(await reading(), "“b” (1) looks at “b” (1): 0.750");
}

/** @param {Page} page */
async function converse(page) {
  const chat = page.locator("cloche-chat");
  let answered = await heard(chat, "cloche-answer");
  await chat.getByLabel("You say").fill("Hi");
  await page.keyboard.press("Enter");
  await answered();
  assert.deepEqual(await chat.locator("li").evaluateAll((items) => items.map((item) => item.className)), [
    "user",
    "assistant",
  ]);
  answered = await heard(chat, "cloche-answer");
  await chat.getByRole("button", { name: "Another answer" }).click();
  await answered();
  assert.equal(await chat.locator("li").count(), 2);
  await chat.getByRole("button", { name: "Begin anew" }).click();
  assert.equal(await chat.locator("li").count(), 0);
}
