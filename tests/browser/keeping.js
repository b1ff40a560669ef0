/**
 * Runs that outlive their tab: the scenes of `run.js teach`, and, with more kills, by themselves:
 *
 *     node tests/browser/keeping.js [--kills 200] [--browser chromium|firefox]
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { serveFolders } from "./server.js";
import { launchChromium, launchFirefox } from "./stacks.js";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const KEEPING = [
  ["a run whose tab is killed goes on, bit for bit", async (page) => survive(await tabsOf(page), 6)],
  ["a saved run is listed, read, renamed, deleted, and had by one page alone", manage],
  ["what a run has told is read without it", tellHistory],
  ["a damaged save is noticed, and the one before opens", damage],
  ["what a run reads is kept with it, files among it", keepData],
  ["a run goes on where there is no place to keep it, and is stopped before it has begun", goOnWithout],
  ["where the browser has no room, training goes on", full],
];

/** A run that has saved nothing for so long is stuck. */
const STUCK_MS = 60_000;
const GROW = { data: "to be or not to be, that is the question. ".repeat(60), contextLen: 32, batchSize: 2, dropout: 0.1, evalEvery: 0 };

/**
 * A place with tabs that share what is kept.
 * @typedef {object} Tabs
 * @property {() => Promise<any>} open a tab at an empty page
 * @property {(tab: any) => Promise<void>} kill ends it at once
 */

/** Tabs of Chromium with a store of their own. @param {Page} page @returns {Promise<Tabs>} */
async function tabsOf(page) {
  const url = page.url();
  const browser = /** @type {import("playwright-core").Browser} */ (page.context().browser());
  const context = await browser.newContext();
  return {
    async open() {
      const tab = await context.newPage();
      await tab.goto(url);
      return tab;
    },
    async kill(tab) {
      const crashed = new Promise((resolve) => tab.once("crash", resolve));
      const session = await context.newCDPSession(tab);
      session.send("Page.crash").catch(() => {});
      await crashed;
      await tab.close();
    },
  };
}

/**
 * Kills the tab of a run again and again, and lets it go on each time; then it must be what an uninterrupted run is.
 * @param {Tabs} tabs @param {number} kills
 */
async function survive(tabs, kills) {
  const options = { ...GROW, steps: 25 * kills };
  const whole = await tabs.open();
  const expected = await whole.evaluate(grown, options);
  await whole.close();
  let [step, finished] = [0, 0];
  for (let killed = 0; killed < kills; killed++) {
    const tab = await tabs.open();
    const before = await tab.evaluate(goOn, [`run ${finished}`, options]);
    assert.ok(before >= step, `kill ${killed}: saved at step ${before}, after it had been saved at ${step}`);
    const wait = 100 + Math.random() * 900;
    await new Promise((resolve) => setTimeout(resolve, wait));
    const now = await tab.evaluate("globalThis.progress");
    assert.equal(now.error, "", `kill ${killed}`);
    step = now.saved;
    if (now.hash) {
      assert.equal(now.hash, expected, `run ${finished} differs`);
      [step, finished] = [0, finished + 1];
    }
    await tabs.kill(tab);
  }
  const tab = await tabs.open();
  await tab.evaluate(goOn, [`run ${finished}`, options]);
  assert.equal(await ended(tab), expected, "the last run differs");
  await tab.close();
  return `${kills} kills, ${finished + 1} runs of ${options.steps} steps`;
}

/** What the run of a tab has learnt when it has ended; asked for again and again, since it may save at every step for minutes. @param {any} tab */
async function ended(tab) {
  for (let [at, asked] = [-1, Date.now()]; ; ) {
    const { saved, hash, error } = await tab.evaluate("globalThis.progress");
    if (hash) return hash;
    if (saved > at) [at, asked] = [saved, Date.now()];
    assert.ok(!error && Date.now() - asked < STUCK_MS, `the run stays at step ${at}: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Runs in the page: an uninterrupted run. @param {any} options @returns {Promise<string>} */
async function grown(options) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const cloche = await Cloche.create({ device: "cpu" });
  for await (const _ of cloche.grow(options));
  const weights = (await cloche.export()).get("model.safetensors");
  cloche.dispose();
  return String(new Uint8Array(await crypto.subtle.digest("SHA-256", weights)));
}

/**
 * Runs in the page: begins a run, or goes on with it, and leaves it to itself. Returns the step that was saved.
 * @param {[string, any]} asked @returns {Promise<number>}
 */
async function goOn([name, options]) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const cloche = await Cloche.create({ device: "cpu" });
  const saved = (await cloche.runs.list()).find((/** @type {any} */ run) => run.name === name);
  // Reading checks every hash.
  if (saved) await cloche.runs.read(name);
  const progress = { saved: saved?.step ?? 0, hash: "", error: "" };
  const run = saved ? cloche.runs.resume(name) : cloche.grow({ ...options, save: { name, every: 1 } });
  const follow = async () => {
    for await (const event of run) if (event.event === "saved") progress.saved = event.step;
    const weights = (await cloche.export()).get("model.safetensors");
    progress.hash = String(new Uint8Array(await crypto.subtle.digest("SHA-256", weights)));
  };
  Object.assign(globalThis, { progress });
  follow().catch((error) => (progress.error = String(error)));
  return progress.saved;
}

/** @param {Page} page */
async function manage(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const [cloche, other] = [await Cloche.create({ device: "cpu" }), await Cloche.create({ device: "cpu" })];
    const told = (/** @type {Promise<unknown>} */ outcome) =>
      outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const drain = async (/** @type {AsyncIterable<any>} */ run) => {
      for await (const _ of run);
    };
    const errors = [];
    const events = [];
    for await (const event of cloche.grow({ ...grow, steps: 4, save: { name: "the first/1", every: 2 } })) {
      events.push(event.event);
      if (event.event === "step" && event.step === 3) {
        errors.push(await told(other.runs.remove("the first/1")), await told(drain(other.runs.resume("the first/1"))));
      }
    }
    const [run] = await cloche.runs.list();
    const files = await cloche.runs.read("the first/1");
    await cloche.runs.rename("the first/1", "second");
    const names = (await other.runs.list()).map((/** @type {any} */ saved) => saved.name);
    const longer = [];
    for await (const event of other.runs.resume("second", { steps: 6 })) if (event.event === "step") longer.push(event.step);
    errors.push(await told(drain(other.grow({ ...grow, steps: 1, save: { name: "second" } }))));
    // The files of a run are a checkpoint.
    for await (const event of cloche.grow({ data: grow.data, resume: files, steps: 5 })) if (event.event === "step") longer.push(event.step);
    await cloche.runs.remove("second");
    errors.push(await told(cloche.runs.read("second")));
    const left = await cloche.runs.list();
    const usage = await cloche.runs.usage();
    cloche.dispose();
    other.dispose();
    return { run, names, longer, errors, left, usage, saves: events.filter((event) => event === "saved").length };
  }, GROW);
  const { savedAt, bytes, ...run } = found.run;
  assert.deepEqual(run, { name: "the first/1", stage: "grow", step: 4 });
  assert.ok(bytes > 100_000 && Date.now() - savedAt < 60_000);
  assert.equal(found.saves, 3, "after steps 1, 2 and 4");
  assert.deepEqual(found.names, ["second"]);
  assert.deepEqual(found.longer, [5, 6, 5]);
  assert.deepEqual(found.left, []);
  assert.ok(found.usage.available > 0 && found.usage.used >= 0);
  assert.deepEqual(found.errors, [
    'RUN_IN_USE: run "the first/1": found in use, expected to have it alone',
    'RUN_IN_USE: run "the first/1": found in use, expected to have it alone',
    'RUN_EXISTS: run "second": found one of that name, expected a new name, or to go on with it',
    'NO_RUN: run "second": found none',
  ]);
}

/** @param {Page} page */
async function damage(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    for await (const _ of cloche.grow({ ...grow, steps: 3, save: { name: "hurt", every: 1 } }));
    const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle("cloche-runs");
    const run = await runs.getDirectoryHandle("hurt");
    const spoil = async () => {
      const manifest = JSON.parse(await (await (await run.getFileHandle("manifest.json")).getFile()).text());
      const folder = await run.getDirectoryHandle(manifest.latest.folder);
      const file = await folder.getFileHandle("model.safetensors");
      const out = await file.createWritable({ keepExistingData: true });
      await out.write({ type: "write", position: 5000, data: new Uint8Array([1, 2, 3, 4]) });
      await out.close();
      return manifest;
    };
    await spoil();
    const events = [];
    for await (const event of cloche.runs.resume("hurt", { steps: 5 })) events.push(event);
    const manifest = await spoil();
    await run.removeEntry(manifest.previous.folder, { recursive: true });
    const error = await cloche.runs.read("hurt").catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
    cloche.dispose();
    return { warning: events[0], steps: events.filter((event) => event.event === "step").map((event) => event.step), error };
  }, GROW);
  assert.equal(found.warning.event, "warning");
  assert.match(found.warning.message, /^run "hurt": file "model\.safetensors" has SHA-256 \w{64}, expected \w{64}; going on/);
  assert.equal(found.steps.at(-1), 5);
  assert.match(found.error, /^RUN_DAMAGED: run "hurt": file "model\.safetensors" has SHA-256/);
}

/** @param {Page} page */
async function tellHistory(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const told = [];
    for await (const event of cloche.grow({ ...grow, steps: 4, evalEvery: 2, sampleAt: [1], save: { name: "told" } })) {
      if (["step", "eval", "sample"].includes(event.event)) told.push(event);
    }
    const history = await cloche.runs.history("told");
    const none = await cloche.runs.history("nobody").catch((/** @type {any} */ error) => error.code);
    cloche.dispose();
    return { told, history, none };
  }, GROW);
  assert.deepEqual(found.history, found.told);
  assert.equal(found.none, "NO_RUN");
}

/** @param {Page} page */
async function keepData(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const losses = async (/** @type {AsyncIterable<any>} */ run) => {
      const found = [];
      for await (const event of run) if (event.event === "step") found.push(event.loss);
      return found;
    };
    const told = (/** @type {Promise<unknown>} */ outcome) =>
      outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const file = new File([grow.data], "bard.txt");
    const whole = await losses(cloche.grow({ ...grow, data: file, chatTokens: true, steps: 6 }));
    const parts = await losses(cloche.grow({ ...grow, data: file, chatTokens: true, steps: 3, save: { name: "of a file" } }));
    parts.push(...(await losses(cloche.runs.resume("of a file", { steps: 4 }))), ...(await losses(cloche.runs.resume("of a file", { steps: 6 }))));
    const readme = new TextDecoder().decode((await cloche.export()).get("README.md"));
    // Records and a file of records beside each other.
    const records = ["or", "is"].map((end) => ({ prompt: "to be", completion: ` ${end}` }));
    const mix = [{ data: new File([records.map((record) => JSON.stringify(record)).join("\n")], "lines.jsonl"), share: 0.5 }];
    const options = { data: records, heldOut: records, mix, batchSize: 2, exam: 2, evalEvery: 0 };
    await losses(cloche.sft({ ...options, steps: 2, save: { name: "taught" } }));
    const taught = await losses(cloche.runs.resume("taught", { steps: 4 }));
    const files = await cloche.runs.read("of a file");
    const other = await told(losses(cloche.grow({ data: file, resume: files, save: { name: "taught" } })));
    const refused = await told(losses(cloche.grow({ ...grow, preset: "nope", save: { name: "never" } })));
    const names = [];
    for await (const name of (await (await navigator.storage.getDirectory()).getDirectoryHandle("cloche-runs")).keys()) names.push(name);
    cloche.dispose();
    return { whole, parts, readme, taught, other, refused, names: names.sort() };
  }, GROW);
  assert.equal(found.parts.length, 6);
  assert.equal(found.parts[0], found.whole[0]);
  assert.match(found.readme, /bard\.txt/);
  assert.equal(found.taught.length, 2);
  assert.match(found.other, /^RUN_EXISTS: run "taught": found one of that name/);
  assert.match(found.refused, /^SETTINGS: /);
  assert.deepEqual(found.names, ["of%20a%20file", "taught"]);
}

/** @param {Page} page */
async function goOnWithout(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu", workerUrl: "/checks/no-storage.js" });
    const events = [];
    const run = cloche.grow({ ...grow, steps: 400, save: { name: "nowhere", every: 1 } });
    setTimeout(() => run.stop(), 3);
    for await (const event of run) events.push(event);
    cloche.dispose();
    return events;
  }, GROW);
  const warnings = found.filter((event) => event.event === "warning");
  assert.deepEqual(warnings.map((event) => event.message), ["the run is not kept: found no file system of the browser's for this page, expected one (OPFS)"]);
  assert.equal(found.at(-1).reason, "stopped");
  assert.ok(found.at(-1).step < 400, `stopped at step ${found.at(-1).step}`);
}

/** @param {Page} page */
async function full(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(page.url()).origin, quotaSize: 500_000 });
  const events = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const events = [];
    for await (const event of cloche.grow({ ...grow, steps: 6, save: { name: "large", every: 2 } })) events.push(event);
    cloche.dispose();
    return events;
  }, GROW);
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(page.url()).origin });
  const warnings = events.filter((event) => event.event === "warning");
  assert.ok(warnings.length > 0 && warnings.every((event) => /gives this site no more room/.test(event.message)), "nobody was told");
  assert.equal(events.at(-1).event, "done");
  assert.equal(events.at(-1).step, 6);
}

/** The tabs of a browser, each closed without a warning. @param {any} browser @param {string} url @returns {Tabs} */
function closed(browser, url) {
  return {
    async open() {
      const tab = await browser.newPage();
      await tab.goto(url);
      return tab;
    },
    kill: (tab) => tab.close({ runBeforeUnload: false }),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { kills: { type: "string", default: "200" }, browser: { type: "string", default: "chromium" } } });
  /** @param {string} folder */
  const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
  const server = await serveFolders({ "/checks/": at("checks"), "/pkg/": at("../../pkg/dist") });
  const url = `${server.origin}/checks/empty.html`;
  const isFirefox = values.browser === "firefox";
  const browser = isFirefox ? await launchFirefox() : await launchChromium();
  const page = await browser.newPage();
  await page.goto(url);
  console.log(await survive(isFirefox ? closed(browser, url) : await tabsOf(/** @type {any} */ (page)), Number(values.kills)));
  await browser.close();
  server.close();
}
