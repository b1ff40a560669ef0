/** The page as a reader uses it, in Chromium on the CPU device: grow, try, stop, save; and what bad input gets. */
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { launchChromium } from "./stacks.js";

/** @typedef {import("playwright-core").Page} Page */

/** Steps of the run that is watched to its end. */
const STEPS = 60;
/** Where screenshots go; git ignores it. */
const SHOTS = fileURLToPath(new URL("../../runs/screenshots/", import.meta.url));

/** @type {[string, (page: Page) => Promise<string | void>][]} */
const SCENES = [
  ["a model grows from the stories", growFromStories],
  ["it continues a text", continueText],
  ["it is saved as a zip of a Hugging Face folder", saveModel],
  ["a run is paused, tried meanwhile, resumed and stopped", pauseAndStop],
  ["a file that is no text is refused with its reason", refuseBinary],
  ["a model grows from a text file", growFromFile],
  ["the page fits 320 pixels and the dark", narrowAndDark],
];

/**
 * @param {string} origin
 * @param {string} only
 * @returns {AsyncGenerator<import("./stacks.js").Outcome>}
 */
export async function* checkPage(origin, only) {
  await mkdir(SHOTS, { recursive: true });
  const browser = await launchChromium();
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    /** @type {string[]} */
    const complaints = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("request", (request) => {
      if (!request.url().startsWith(origin) && !request.url().startsWith("blob:")) complaints.push(request.url());
    });
    page.setDefaultTimeout(60_000);
    await page.goto(origin);
    for (const [name, scene] of SCENES.filter(([name]) => name.includes(only))) {
      const started = performance.now();
      const outcome = await scene(page).then(
        (note) => ({ note: note ?? "" }),
        (error) => ({ error: String(error?.message ?? error) }),
      );
      yield { name, ms: performance.now() - started, ...outcome };
    }
    const quiet = { name: "nothing is logged as an error, nothing is asked of another host", ms: 0 };
    yield complaints.length > 0 ? { ...quiet, error: complaints.join("; ") } : quiet;
  } finally {
    await browser.close();
  }
  if ("without WebGPU".includes(only)) yield await withoutWebgpu(origin);
}

/**
 * A browser without WebGPU: the page says that it computes on the CPU, and why, and a model grows all the same.
 * @param {string} origin
 * @returns {Promise<import("./stacks.js").Outcome>}
 */
async function withoutWebgpu(origin) {
  const name = "without WebGPU a model grows on the CPU, and the page says so";
  const started = performance.now();
  const browser = await launchChromium({ webgpu: false });
  try {
    const page = await browser.newPage();
    await page.goto(origin);
    await grow(page, { steps: 5, device: "auto" });
    await status(page, /^Grown: 5 steps/);
    const note = (await page.locator("#device").textContent()) ?? "";
    assert.match(note, /^Computing on the CPU, because there is no WebGPU: this browser /);
    return { name, ms: performance.now() - started, note };
  } catch (error) {
    return { name, ms: performance.now() - started, error: String(error) };
  } finally {
    await browser.close();
  }
}

/** @param {Page} page @param {{ steps: number, tokenizer?: string, device?: string }} setup */
async function grow(page, { steps, tokenizer = "char", device = "cpu" }) {
  await page.getByLabel("Size").selectOption("tiny");
  await page.getByLabel("Units of text").selectOption(tokenizer);
  await page.getByLabel("Steps").fill(String(steps));
  await page.getByLabel("Device").selectOption(device);
  await page.getByRole("button", { name: "Grow" }).click();
}

/** Waits for a text in the line that tells the progress. @param {Page} page @param {RegExp} text */
async function status(page, text) {
  await page.locator("#status").filter({ hasText: text }).waitFor();
}

/** @param {Page} page */
async function growFromStories(page) {
  await grow(page, { steps: STEPS });
  await status(page, new RegExp(`^Grown: ${STEPS} steps`));
  await page.getByText("Show as a table").click();
  const cells = await page.locator("#table tr").evaluateAll((rows) =>
    rows.map((row) => Array.from(row.children, (cell) => (cell.textContent ? Number(cell.textContent) : undefined))),
  );
  const train = cells.flatMap(([, loss]) => loss ?? []);
  const val = cells.flatMap(([, , loss]) => loss ?? []);
  assert.ok(train.length >= STEPS / 2, `${train.length} training losses in the table`);
  assert.ok(val.length >= 5, `${val.length} validation losses in the table`);
  const [first, last] = [train[0] ?? 0, train.at(-1) ?? Infinity];
  assert.ok(last < first - 0.5, `the loss went from ${first} to ${last}`);
  assert.match((await page.locator("#chart").getAttribute("aria-label")) ?? "", /floor 0\.\d+/);
  assert.match((await page.locator("#facts").textContent()) ?? "", /parameters, a vocabulary of \d+/);
  const samples = await page.locator("#samples li p").allTextContents();
  assert.ok(samples.length >= 4 && samples.every((text) => text.length > 0), `${samples.length} samples`);
  await page.screenshot({ path: `${SHOTS}grown.png`, fullPage: true });
  return `loss ${first} → ${last}, ${await page.locator("#device").textContent()}`;
}

/** @param {Page} page */
async function continueText(page) {
  await page.getByLabel("Your beginning").fill("Once there was");
  await page.getByLabel("Tokens").fill("60");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.waitForFunction(() => !(/** @type {any} */ (document.getElementById("continue")).disabled));
  const text = (await page.locator("#continuation").textContent()) ?? "";
  assert.equal(await page.locator("#prompt-note").textContent(), "");
  // How much there is, is the model's choice: it may end the text.
  assert.ok(text.startsWith("Once there was") && text.length > "Once there was".length, text);
  return JSON.stringify(text);
}

/** @param {Page} page */
async function saveModel(page) {
  const button = page.getByRole("button", { name: "Save the model" });
  const [saved] = await Promise.all([page.waitForEvent("download"), button.click()]);
  const bytes = await readFile(await saved.path());
  assert.equal(bytes.readUInt32LE(0), 0x04034b50, "the archive begins as a zip file does");
  for (const name of ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"]) {
    assert.ok(bytes.includes(name), `${name} is missing`);
  }
  return (await page.locator("#save-note").textContent()) ?? "";
}

/** @param {Page} page */
async function pauseAndStop(page) {
  await grow(page, { steps: 100_000 });
  await status(page, /^Step /);
  await page.getByRole("button", { name: "Pause" }).click();
  await status(page, /^Paused/);
  await continueText(page);
  await page.getByRole("button", { name: "Resume" }).click();
  await status(page, /^Step /);
  await continueText(page);
  await page.getByRole("button", { name: "Stop" }).click();
  await status(page, /^Stopped/);
}

/** @param {Page} page */
async function refuseBinary(page) {
  await page.getByLabel("A text of mine").check();
  const buffer = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 255]);
  await page.getByLabel("choose one").setInputFiles({ name: "picture.png", mimeType: "text/plain", buffer });
  await grow(page, { steps: 5 });
  const error = page.locator("#error").filter({ hasText: "picture.png" });
  await error.waitFor();
  return (await error.textContent()) ?? "";
}

/** @param {Page} page */
async function growFromFile(page) {
  const buffer = Buffer.from("The quick brown fox jumps over the lazy dog, and the dog sleeps on. ".repeat(200));
  await page.getByLabel("choose one").setInputFiles({ name: "fox.txt", mimeType: "text/plain", buffer });
  await grow(page, { steps: 20 });
  await status(page, /^Grown: 20 steps/);
  assert.equal(await page.locator("#error").textContent(), "");
}

/** @param {Page} page */
async function narrowAndDark(page) {
  for (const [width, colorScheme] of /** @type {const} */ ([[320, "light"], [768, "dark"]])) {
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(100);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `the page is ${wide} pixels wide in a window of ${width}`);
    await page.screenshot({ path: `${SHOTS}${width}-${colorScheme}.png`, fullPage: true });
  }
}
