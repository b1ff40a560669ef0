/** The labs, each driven to its end: what they show, what bad input gets, and whether everybody can use them. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { offences } from "./axe.js";
import { heard } from "./heard.js";

/** @typedef {import("playwright-core").Page} Page */

/** Steps of the run that is watched to its end. */
const STEPS = 60;
/** Where screenshots go; git ignores it. */
export const SHOTS = fileURLToPath(new URL("../../runs/screenshots/", import.meta.url));

/** @type {import("./page.js").Scene[]} */
export const LAB_SCENES = [
  ["the first page opens every lab", openDoors],
  ["tokens: merges come as they should", watchMerges],
  ["tokens: one text is read in three ways, and an unknown word falls apart", readText],
  ["tokens: lengths are compared", compareLengths],
  ["grow: a model grows from the stories", growFromStories],
  ["grow: it continues a text", continueText],
  ["grow: it is saved as a zip of a Hugging Face folder", saveModel],
  ["grow: a run is paused, tried meanwhile, resumed and stopped", pauseAndStop],
  ["grow: two runs are compared, and their losses read by keyboard", compareRuns],
  ["grow: weights and gradients are shown by layer", showNorms],
  ["grow: what was kept goes on after a reload, has another name, and is deleted", goOnWithKept],
  ["grow: a run that was kept stands beside the one of this visit", compareKept],
  ["grow: a file that is no text is refused with its reason", refuseBinary],
  ["grow: a model grows from a text file", growFromFile],
  ["talk: what was saved is opened, goes on in three ways, and converses", talkToSaved],
  ["talk: what is no model is refused with its reason", refuseArchive],
  ["talk: a model is fetched from an address, and what is none is refused", fetchModel],
  ["talk: an adapter beside a model is switched off", switchAdapter],
  ["a run is completed by keyboard alone", keyboardAlone],
  ["the set-up stands in the address", setupInAddress],
  ["every lab fits 320 pixels and the dark, and axe finds no fault", narrowAndDark],
];

/** The lab that is shown. @param {Page} page */
const lab = (page) => page.locator("main > article:not([hidden])");
/** A part of it by its title. @param {Page} page @param {string} title */
const section = (page, title) =>
  lab(page)
    .locator("section")
    .filter({ has: page.getByRole("heading", { name: title }) });

/** Opens a lab as a link does. @param {Page} page @param {string} id */
async function open(page, id) {
  await page.evaluate((id) => {
    if (location.hash.split("?")[0] === `#/${id}`) return;
    const arrived = new Promise((resolve) => addEventListener("hashchange", resolve, { once: true }));
    location.hash = `#/${id}`;
    return arrived;
  }, id);
  await lab(page).getByRole("heading", { level: 1 }).waitFor();
}

/** @param {Page} page */
async function openDoors(page) {
  const doors = await lab(page).locator(".doors a").all();
  assert.equal(doors.length, 3);
  for (const name of await lab(page).locator(".doors h2").allTextContents()) {
    await open(page, "");
    await lab(page).getByRole("link", { name }).click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
  }
}

/** @param {Page} page */
async function watchMerges(page) {
  await open(page, "tokens");
  const merges = page.locator("lab-merges");
  const symbols = () => merges.locator(".symbol").allTextContents();
  await merges.getByText("one for each character").waitFor();
  assert.deepEqual(await symbols(), [..."aaabdaaabac"]);
  for (let i = 0; i < 3; i++) await merges.getByRole("button", { name: "Merge" }).click();
  assert.deepEqual(await symbols(), ["aaab", "d", "aaab", "a", "c"]);
  await merges.getByText("No pair occurs twice any more.").waitFor();
  assert.equal(await merges.locator(".compressed").textContent(), "XdXac");
  assert.ok(await merges.getByRole("button", { name: "Merge" }).isDisabled());
}

/** @param {Page} page */
async function readText(page) {
  const read = section(page, "three ways");
  await read.getByRole("textbox").fill("种子 seed");
  const counts = read.locator("[part=counts]");
  await counts.filter({ hasText: "11 bytes, 11 tokens of a vocabulary of 257" }).waitFor();
  // The characters were never in the stories: what is read is the rest.
  await counts.filter({ hasText: "11 bytes, 5 tokens" }).waitFor();
  assert.equal(await read.locator("cloche-tokens").first().locator(".lost").count(), 2);
  const pieces = read.getByRole("listbox", { name: "Pieces of words as tokens" }).getByRole("option");
  await read.getByRole("textbox").fill("Once there was");
  await counts.filter({ hasText: "of a vocabulary of 512" }).waitFor();
  const few = await pieces.count();
  await read.getByLabel("Pieces in the vocabulary").selectOption("2048");
  await counts.filter({ hasText: "of a vocabulary of 2,048" }).waitFor();
  assert.ok((await pieces.count()) < few, `${few} tokens by 512 pieces, ${await pieces.count()} by 2048`);
  const word = section(page, "falls apart");
  await word.getByRole("textbox").fill(" little");
  await word.locator(".merges li").filter({ hasText: "merge" }).first().waitFor();
  await word.getByRole("option", { name: "·little" }).waitFor();
  await word.getByRole("textbox").fill("photosynthesis");
  const parts = word.getByRole("option");
  await parts.nth(5).waitFor();
  return `photosynthesis: ${await parts.count()} tokens`;
}

/** @param {Page} page */
async function compareLengths(page) {
  const lengths = page.locator("lab-lengths");
  await lengths.getByText("Show as a table").click();
  const cell = (/** @type {number} */ row, /** @type {number} */ column) =>
    lengths.locator("tbody tr").nth(row).locator("td").nth(column).textContent();
  assert.equal(await cell(0, 0), "44");
  assert.equal(await cell(2, 1), "36");
  assert.match((await cell(2, 0)) ?? "", /some left out/);
  assert.ok(Number(await cell(0, 2)) < 30, "word pieces make English short");
}

/** @param {Page} page @param {{ steps: number, tokenizer?: string, device?: string }} setup */
async function grow(page, { steps, tokenizer = "char", device = "cpu" }) {
  const trainer = page.locator("cloche-trainer");
  await trainer.getByLabel("Size").selectOption("tiny");
  await trainer.getByLabel("Units of text").selectOption(tokenizer);
  await trainer.getByLabel("Steps").fill(String(steps));
  await trainer.getByLabel("Device").selectOption(device);
  await trainer.getByRole("button", { name: "Grow" }).click();
}

/** Waits for a text in the line that tells the progress. @param {Page} page @param {RegExp} text */
async function status(page, text) {
  await page.locator("cloche-trainer [part=status]").filter({ hasText: text }).waitFor();
}

/** @param {Page} page */
async function growFromStories(page) {
  await open(page, "grow");
  await grow(page, { steps: STEPS });
  await status(page, new RegExp(`^Grown: ${STEPS} steps`));
  const loss = page.locator("cloche-loss");
  await loss.getByText("Show as a table").click();
  // The table is drawn after it was opened.
  await loss.locator("tbody tr").first().waitFor();
  const cells = await loss
    .locator("tbody tr")
    .evaluateAll((rows) =>
      rows.map((row) => Array.from(row.children, (cell) => (cell.textContent ? Number(cell.textContent) : undefined))),
    );
  const train = cells.flatMap(([, value]) => value ?? []);
  const val = cells.flatMap(([, , value]) => value ?? []);
  assert.ok(train.length >= STEPS / 2, `${train.length} training losses in the table`);
  assert.ok(val.length >= 5, `${val.length} validation losses in the table`);
  const [first, last] = [train[0] ?? 0, train.at(-1) ?? Infinity];
  assert.ok(last < first - 0.5 && last < 3.4, `the loss went from ${first} to ${last}`);
  assert.match((await loss.getByRole("slider").getAttribute("aria-valuetext")) ?? "", /^step 60: .*floor 0\.\d+/);
  assert.match(
    (await page.locator("cloche-trainer [part=facts]").textContent()) ?? "",
    /parameters, a vocabulary of \d+/,
  );
  const samples = page.locator("cloche-samples");
  await samples.getByText("All of them").click();
  const said = await samples.locator("li .said").allTextContents();
  assert.ok(said.length >= 4 && said.every((text) => text.length > 0), `${said.length} samples`);
  await samples.getByRole("slider").press("Home");
  await samples.getByText("before the first step").first().waitFor();
  return `loss ${first} → ${last}, ${await page.locator("#device").textContent()}`;
}

/** @param {Page} page */
async function continueText(page) {
  const prompt = lab(page).locator("cloche-prompt");
  await prompt.getByLabel("Your beginning").fill("Once there was");
  await prompt.getByLabel("Tokens").fill("60");
  // How much there is, is the model's choice. A young one ends a text at once about every fiftieth time.
  let text = "";
  for (let turn = 0; turn < 3 && text.length <= "Once there was".length; turn++) {
    const answered = await heard(prompt, "cloche-answer");
    await prompt.getByRole("button", { name: /Continue|Again/ }).click();
    await answered();
    text = ((await prompt.locator("[part=answers] li").textContent()) ?? "").trim();
  }
  assert.ok(text.startsWith("Once there was") && text.length > "Once there was".length, text);
  return JSON.stringify(text);
}

/** @param {Page} page */
async function saveModel(page) {
  const trainer = page.locator("cloche-trainer");
  const button = trainer.getByRole("button", { name: "Save the model" });
  const [saved] = await Promise.all([page.waitForEvent("download"), button.click()]);
  const bytes = await readFile(await saved.path());
  assert.equal(bytes.readUInt32LE(0), 0x04034b50, "the archive begins as a zip file does");
  for (const name of ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"]) {
    assert.ok(bytes.includes(name), `${name} is missing`);
  }
  await saved.saveAs(`${SHOTS}model.zip`);
  return (await trainer.getByText(/^Saved/).textContent()) ?? "";
}

/** @param {Page} page */
async function pauseAndStop(page) {
  const trainer = page.locator("cloche-trainer");
  await grow(page, { steps: 100_000 });
  await status(page, /^Step [1-9]/);
  await trainer.getByRole("button", { name: "Pause" }).click();
  await status(page, /^Paused/);
  await continueText(page);
  await trainer.getByRole("button", { name: "Resume" }).click();
  await status(page, /^Step /);
  await continueText(page);
  await trainer.getByRole("button", { name: "Stop" }).click();
  await status(page, /^Stopped/);
}

/** @param {Page} page */
async function compareRuns(page) {
  const loss = page.locator("cloche-loss");
  await loss.getByLabel("Compare with").selectOption({ label: "run 1 · tiny · char" });
  const cursor = loss.getByRole("slider");
  await cursor.focus();
  await page.keyboard.press("Home");
  const reading = (await cursor.getAttribute("aria-valuetext")) ?? "";
  assert.match(reading, /^step 0: .*run 1 validation 4\.\d+/);
  await page.keyboard.press("ArrowRight");
  assert.match((await cursor.getAttribute("aria-valuetext")) ?? "", /^step [1-9]/);
  const [saved] = await Promise.all([page.waitForEvent("download"), loss.getByText("Save as CSV").click()]);
  const [header] = (await readFile(await saved.path(), "utf8")).split("\n");
  assert.equal(header, "step,training,validation,floor,run 1 training,run 1 validation");
  return reading;
}

/** @param {Page} page */
async function showNorms(page) {
  const norms = section(page, "What is pulled at?");
  await norms.scrollIntoViewIfNeeded();
  const rows = norms.locator("tbody tr");
  await rows.first().waitFor();
  assert.deepEqual((await rows.locator("th").allTextContents()).slice(0, 3), ["embedding", "layer 0", "layer 1"]);
  const sizes = (await rows.locator("td").allTextContents()).map(Number);
  assert.ok(sizes.every((size) => size > 0), `norms: ${sizes}`);
}

/** Of a run that goes on. @param {Page} page */
async function showTimes(page) {
  const times = section(page, "Where does the time go?");
  await times.scrollIntoViewIfNeeded();
  const first = await times.locator("tbody th").first().textContent();
  assert.equal(first, "matrix products", "what a step spends most of its time with");
  assert.match((await times.locator("caption").textContent()) ?? "", /^Step \d+: [\d.]+ ms$/);
}

/** @param {Page} page */
async function goOnWithKept(page) {
  const trainer = lab(page).locator("cloche-trainer");
  const status = (/** @type {RegExp} */ text) => trainer.locator("[part=status]").filter({ hasText: text });
  await trainer.getByLabel("Steps").fill("5000");
  await trainer.getByRole("button", { name: "Grow" }).click();
  await status(/^Step \d\d/).waitFor();
  await showTimes(page);
  await page.reload();
  const kept = section(page, "What is kept");
  await kept.getByRole("button", { name: "Show what is kept" }).click();
  const rows = kept.locator("tbody tr");
  await rows.first().waitFor();
  const before = await rows.count();
  const name = () => rows.first().getByLabel("Name").inputValue();
  assert.match(await name(), /^tiny · char · \d{4}-/);
  const at = Number((await rows.first().locator("td").nth(1).textContent())?.replaceAll(",", ""));
  assert.ok(at >= 1 && at < 5000, `kept at step ${at}`);
  await rows.first().getByRole("button", { name: "Go on" }).click();
  await status(/^Step \d+ of 5,000/).waitFor();
  await trainer.getByRole("button", { name: "Stop" }).click();
  await status(/^Stopped/).waitFor();
  const curve = section(page, "How surprised is it?").locator("[role=slider]");
  assert.match((await curve.getAttribute("aria-valuetext")) ?? "", /^step \d+: /);
  await rows.first().getByLabel("Name").fill("the one that went on");
  await page.keyboard.press("Enter");
  await kept.getByRole("button", { name: "Delete the one that went on" }).click();
  await kept.getByRole("button", { name: "Delete the one that went on" }).waitFor({ state: "detached" });
  assert.equal(await rows.count(), before - 1);
}

/** @param {Page} page */
async function compareKept(page) {
  const loss = page.locator("cloche-loss");
  const samples = page.locator("cloche-samples");
  assert.equal(await samples.getByLabel("Compare with").count(), 0, "the lab asks once, at the loss");
  const chosen = loss.getByLabel("Compare with");
  // What was deleted last may still be offered for a moment.
  await chosen.locator("option", { hasText: "the one that went on" }).waitFor({ state: "detached" });
  const kept = await chosen.locator("optgroup option").allTextContents();
  assert.ok(kept.length >= 1, "runs of other visits are offered");
  const name = String(kept[0]);
  await chosen.selectOption({ label: name });
  await loss.locator("[part=legend] li").filter({ hasText: `${name} validation` }).waitFor();
  const dashes = await loss.locator("[part=legend] path").evaluateAll((paths) => paths.map((path) => path.getAttribute("stroke-dasharray")));
  assert.equal(new Set(dashes).size, dashes.length, "each line has its own dashes");
  await loss.getByText("Show as a table").click();
  const columns = await loss.locator("th").allTextContents();
  assert.deepEqual(columns.slice(-2), [`${name} training`, `${name} validation`]);
  const [saved] = await Promise.all([page.waitForEvent("download"), loss.getByText("Save as CSV").click()]);
  const [header, first] = (await readFile(await saved.path(), "utf8")).split("\n");
  assert.ok(header?.includes(`${name} training`), header);
  assert.match(String(first), /^0,.*,\d+\.\d+$/, "of step 0 its validation loss is known");
  assert.ok(((await samples.locator("[part=other]").textContent()) ?? "").trim().length > 0, "it has said something");
  await samples.locator(".note").filter({ hasText: `${name}: ` }).waitFor();
  assert.deepEqual(await offences(page), []);
  await loss.getByText("Show as a table").click();
  await section(page, "How surprised is it?").screenshot({ path: `${SHOTS}beside-loss.png` });
  await section(page, "From noise to words").screenshot({ path: `${SHOTS}beside-samples.png` });
  await chosen.selectOption({ label: "no other run" });
  await samples.locator("[part=other]").waitFor({ state: "detached" });
  return name;
}

/** @param {Page} page */
async function refuseBinary(page) {
  const trainer = page.locator("cloche-trainer");
  await trainer.getByLabel("A text of mine").check();
  const buffer = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 255]);
  await trainer.getByLabel("choose one").setInputFiles({ name: "picture.png", mimeType: "text/plain", buffer });
  await grow(page, { steps: 5 });
  const error = trainer.locator("[part=error]").filter({ hasText: "picture.png" });
  await error.waitFor();
  return (await error.textContent())?.trim();
}

/** @param {Page} page */
async function growFromFile(page) {
  const trainer = page.locator("cloche-trainer");
  const buffer = Buffer.from("The quick brown fox jumps over the lazy dog, and the dog sleeps on. ".repeat(200));
  await trainer.getByLabel("choose one").setInputFiles({ name: "fox.txt", mimeType: "text/plain", buffer });
  await grow(page, { steps: 20 });
  await status(page, /^Grown: 20 steps/);
  assert.equal(await trainer.locator("[part=error]").count(), 0);
}

/** The model that an earlier scene saved. @param {Page} page */
async function talkToSaved(page) {
  await open(page, "talk");
  await page.getByLabel("Open a zip").setInputFiles(`${SHOTS}model.zip`);
  await page.getByText("You are talking to model.zip").waitFor();
  const next = page.locator("cloche-next-token:visible");
  await next.getByLabel("The text so far").fill("The seed");
  await next.getByLabel("Temperature").fill("0");
  const prompt = lab(page).locator("cloche-prompt");
  const answered = await heard(prompt, "cloche-answer");
  await prompt.getByLabel("Tokens").fill("12");
  await prompt.getByRole("button", { name: "Continue" }).click();
  const { text, answers } = await answered();
  assert.equal(text, "The seed");
  assert.equal(answers.length, 3);
  assert.equal(new Set(answers).size, 1, "the likeliest answer is always the same");
  const chat = page.locator("cloche-chat");
  await chat.getByLabel("You say").fill("Hi");
  await chat.getByRole("button", { name: "Say it" }).click();
  await chat.locator("li.assistant").waitFor();
  return JSON.stringify(answers[0]);
}

/** @param {Page} page */
async function refuseArchive(page) {
  const refused = async (/** @type {Buffer} */ buffer, /** @type {RegExp} */ why) => {
    await page.getByLabel("Open a zip").setInputFiles({ name: "model.zip", mimeType: "application/zip", buffer });
    await page.locator("lab-model .error").filter({ hasText: why }).waitFor();
  };
  await refused(Buffer.from("<!doctype html><title>Not found</title>"), /not a zip archive/);
  const bytes = await readFile(`${SHOTS}model.zip`);
  bytes.writeUInt8(255 - bytes.readUInt8(5000), 5000);
  await refused(bytes, /model.safetensors: its checksum is wrong/);
  await page.getByText("You are talking to model.zip").waitFor();
}

/** @param {Page} page */
async function fetchModel(page) {
  const body = await readFile(`${SHOTS}model.zip`);
  await page.route("**/models/*", (route) => {
    const isThere = route.request().url().endsWith("/birch.zip");
    return route.fulfill(isThere ? { body, contentType: "application/zip" } : { contentType: "text/html", body: "<!doctype html>" });
  });
  const field = page.getByLabel("or what lies at an address");
  const fetched = page.getByRole("button", { name: "Fetch it" });
  await field.fill("/models/birch.zip");
  await fetched.click();
  await page.getByText("You are talking to birch").waitFor();
  for (const [address, why] of /** @type {[string, RegExp][]} */ ([
    ["/models/oak.zip", /oak\.zip: found an HTML page at http/],
    ["http://", /Found "http:\/\/", expected an address/],
  ])) {
    await field.fill(address);
    await fetched.click();
    await page.locator("lab-model .error").filter({ hasText: why }).waitFor();
  }
  await page.getByText("You are talking to birch").waitFor();
}

/** @param {Page} page */
async function switchAdapter(page) {
  const buffer = Buffer.from(await taught(page));
  await open(page, "talk");
  await page.getByLabel("Open a zip").setInputFiles({ name: "taught.zip", mimeType: "application/zip", buffer });
  await page.getByText("You are talking to taught.zip").waitFor();
  const next = page.locator("cloche-next-token:visible");
  await next.getByLabel("The text so far").fill("to be");
  await next.getByLabel("Temperature").fill("0");
  const prompt = lab(page).locator("cloche-prompt");
  await prompt.getByLabel("Tokens").fill("8");
  const say = async () => {
    const answered = await heard(prompt, "cloche-answer");
    await prompt.getByRole("button", { name: /Continue|Again/ }).click();
    return answered();
  };
  const beside = await say();
  await page.getByLabel("its adapter").uncheck();
  const alone = await say();
  assert.notEqual(alone.answers[0], beside.answers[0]);
  assert.ok(beside.logProbs.length === 3 && beside.logProbs.every((/** @type {number} */ nats) => nats < 0));
  assert.match((await prompt.locator("[part=log-prob]").first().textContent()) ?? "", /^log-probability −\d+\.\d\d, −\d\.\d\d a token$/);
  return JSON.stringify([beside.answers[0], alone.answers[0]]);
}

/** A zip of a model with what it has learnt beside its weights. @param {Page} page @returns {Promise<number[]>} */
async function taught(page) {
  const tab = await /** @type {import("playwright-core").Browser} */ (page.context().browser()).newPage();
  await tab.goto(`${new URL(page.url()).origin}/checks/empty.html`);
  const bytes = await tab.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const { zip } = await import(/** @type {string} */ ("/pkg/zip.js"));
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const short = { batchSize: 4, evalEvery: 0 };
    const data = "to be or not to be, that is the question. ".repeat(60);
    await collect(cloche.grow({ ...short, data, steps: 40, lr: 3e-3, contextLen: 32, chatTokens: true }));
    const base = await cloche.export();
    const records = Array.from({ length: 18 }, (_, at) => ({ prompt: "to be", completion: "on"[at % 2]?.repeat(8) }));
    await collect(cloche.sft({ ...short, data: records, steps: 40, lr: 1e-2, exam: 1, lora: { rank: 4 } }));
    const both = new Map([...base, ...(await cloche.export())]);
    cloche.dispose();
    return Array.from(new Uint8Array(await zip(both).arrayBuffer()));
  });
  await tab.close();
  return bytes;
}

/** From the top of the page to a grown model with the Tab key, the space bar, arrows and digits. @param {Page} page */
async function keyboardAlone(page) {
  await page.goto(`${new URL(page.url()).origin}/#/`);
  await page.reload();
  const reach = async (/** @type {string} */ name) => {
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press("Tab");
      const focused = await page.evaluate(() => {
        let element = document.activeElement;
        while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
        const label = /** @type {HTMLInputElement} */ (element)?.labels?.[0]?.textContent;
        return (label ?? element?.textContent ?? "").trim().replace(/\s+/g, " ");
      });
      if (focused.startsWith(name)) return;
    }
    throw new Error(`${name} cannot be reached by the Tab key`);
  };
  await reach("Grow");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "How does it learn to speak?" }).waitFor();
  await reach("Steps");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("12");
  await reach("Device");
  await page.keyboard.press("C");
  await reach("Grow");
  await page.keyboard.press("Enter");
  await status(page, /^Grown: 12 steps/);
}

/** @param {Page} page */
async function setupInAddress(page) {
  assert.match(page.url(), /#\/grow\?.*steps=12.*device=cpu|#\/grow\?.*device=cpu.*steps=12/);
  await page.goto(`${new URL(page.url()).origin}/#/grow?preset=nano&tokenizer=bpe%3A512&steps=77&device=cpu`);
  const trainer = page.locator("cloche-trainer");
  assert.equal(await trainer.getByLabel("Size").inputValue(), "nano");
  assert.equal(await trainer.getByLabel("Units of text").inputValue(), "bpe:512");
  assert.equal(await trainer.getByLabel("Steps").inputValue(), "77");
  await page.goto(`${new URL(page.url()).origin}/#/grow?steps=none`);
  await trainer.getByText('steps="none" on <cloche-trainer>: expected a whole number').waitFor();
}

/** @param {Page} page */
async function narrowAndDark(page) {
  await page.goto(`${new URL(page.url()).origin}/#/grow?steps=15&device=cpu`);
  await page.reload();
  await page.locator("cloche-trainer").getByRole("button", { name: "Grow" }).click();
  await status(page, /^Grown/);
  await continueText(page);
  for (const id of ["", "tokens", "grow", "talk"]) {
    await open(page, id);
    if (id === "tokens") await page.locator("lab-lengths figure").waitFor();
    for (const [width, colorScheme] of /** @type {const} */ ([
      [320, "light"],
      [375, "dark"],
      [768, "light"],
      [1280, "dark"],
    ])) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(150);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `#/${id} is ${wide} pixels wide in a window of ${width}`);
      await page.screenshot({ path: `${SHOTS}${id || "first"}-${width}-${colorScheme}.png`, fullPage: true });
    }
    for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await offences(page), [], `#/${id} in ${colorScheme}`);
    }
  }
}

/** A browser without WebGPU. @param {Page} page */
export async function growsWithoutWebgpu(page) {
  await open(page, "grow");
  await grow(page, { steps: 5, device: "auto" });
  await status(page, /^Grown: 5 steps/);
  const note = (await page.locator("#device").textContent()) ?? "";
  assert.match(note, /^Computing on the CPU, because there is no WebGPU: this browser /);
  return note;
}
