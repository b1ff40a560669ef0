/**
 * A graphics device that fails: scenes of `run.js teach`, and, with more losses and every allocation, by themselves:
 *
 *     node tests/browser/faults.js [--losses 50] [--allocations 1]
 *
 * The second number is the distance between the allocations that are refused.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { serveFolders } from "./server.js";
import { launchChromium } from "./stacks.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {[stage: string, options: any, moments: number[], save: string]} Asked */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const FAULTS = [
  ["a run whose device is lost goes on with another one, bit for bit", (page) => endure(page, 2)],
  ["so does a stage", (page) => endure(page, 1, "sft")],
  ["where no other device is to be had, the CPU takes over, and the page knows", fallBack],
  ["a buffer for which there is no room is named, and nothing stays behind", (page) => refuseBuffers(page, 15)],
];

const SMALL = { contextLen: 32, batchSize: 2 };
/** What the runs are asked for, by their stage. @type {Record<string, any>} */
const RUNS = {
  grow: { ...SMALL, data: "to be or not to be, that is the question. ".repeat(60), dropout: 0.1, evalEvery: 40, sampleAt: [0, 40] },
  sft: { ...SMALL, data: "task:addition", init: "tiny", examples: 40, exam: 2, evalEvery: 40, steps: 80 },
};
/** Steps between two losses: the worker may be 32 events ahead of the page. */
const APART = 40;

/**
 * Destroys the device of a run at random moments, so many times; what the run tells and what it learns must stay the same.
 * @param {Page} page @param {number} losses
 */
async function endure(page, losses, stage = "grow") {
  const options = { steps: APART * (losses + 1), ...RUNS[stage] };
  const whole = await page.evaluate(ran, /** @type {Asked} */ ([stage, options, [], ""]));
  const moments = Array.from({ length: losses }, (_, n) => APART * n + 1 + Math.floor((Math.random() * APART) / 3));
  const save = stage === "grow" ? "frail" : "";
  const frail = await page.evaluate(ran, /** @type {Asked} */ ([stage, options, moments, save]));
  const revivals = frail.warnings.filter((warning) => warning.includes(": going on from the last checkpoint on "));
  assert.equal(revivals.length, losses, frail.warnings.join("; "));
  // A save at that moment fails too, and says so.
  for (const warning of frail.warnings) assert.match(warning, /^GPU device lost: /);
  assert.deepEqual(frail.told, whole.told);
  assert.equal(frail.hash, whole.hash, `what it has learnt, with losses at ${moments}`);
  return `lost at steps ${moments} of ${options.steps}`;
}

/**
 * Runs in the page: a run whose device is lost at some steps, and what came of it.
 * @param {Asked} asked
 * @returns {Promise<{ told: unknown[], warnings: string[], hash: string }>}
 */
async function ran([stage, options, moments, save]) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const cloche = await Cloche.create({ device: "webgpu", workerUrl: "/checks/frail.js" });
  const faults = new BroadcastChannel("faults");
  const told = [];
  const warnings = [];
  const left = [...moments];
  for await (const event of cloche[stage](save ? { ...options, save: { name: save, every: 50 } } : options)) {
    if (event.event === "warning") warnings.push(event.message);
    if (!["step", "eval", "sample"].includes(event.event)) continue;
    told.push(["event", "step", "loss", "grad_norm", "val_loss", "held_out_loss", "text"].map((name) => event[name]));
    if (event.event === "step" && event.step >= (left[0] ?? Infinity)) {
      left.shift();
      faults.postMessage({ lose: true });
    }
  }
  const weights = (await cloche.export()).get("model.safetensors");
  const hash = String(new Uint8Array(await crypto.subtle.digest("SHA-256", weights)));
  if (save) await cloche.runs.remove(save);
  cloche.dispose();
  return { told, warnings, hash };
}

/** @param {Page} page */
async function fallBack(page) {
  const found = await page.evaluate(async (options) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "auto", workerUrl: "/checks/frail.js?real" });
    const faults = new BroadcastChannel("faults");
    const before = cloche.device;
    const told = [];
    for await (const event of cloche.grow(options)) {
      told.push([event.event, event.step, cloche.device.kind, event.message]);
      if (event.event === "step" && event.step === 1) faults.postMessage({ lose: true, forGood: true });
    }
    const after = cloche.device;
    cloche.dispose();
    return { before, after, told };
  }, { ...RUNS["grow"], steps: 60, evalEvery: 0, sampleAt: [] });
  assert.deepEqual([found.before.kind, found.after.kind, found.after.name], ["webgpu", "cpu", "CPU"]);
  const [, , kind, message] = found.told.find(([event]) => event === "warning") ?? [];
  assert.equal(kind, "cpu", "the page knows by the time it is warned");
  assert.match(String(message), /^GPU device lost: .+: going on from the last checkpoint on the CPU, because /);
  assert.ok(found.after.why.startsWith("the CPU, because "), found.after.why);
  assert.deepEqual(found.told.at(-1)?.slice(0, 2), ["done", 60]);
}

/**
 * Leaves no room for one buffer of a run, then for another: each time the run is refused with the buffer's name, and what
 * lives on the device is what lived there before.
 * @param {Page} page @param {number} apart
 */
async function refuseBuffers(page, apart) {
  const found = await page.evaluate(async ([options, apart]) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "webgpu", workerUrl: "/checks/frail.js" });
    const faults = new BroadcastChannel("faults");
    const state = () =>
      new Promise((resolve) => {
        faults.onmessage = ({ data }) => resolve(data);
        faults.postMessage({ ask: true });
      });
    const grown = async () => {
      for await (const _ of cloche.grow(options));
    };
    const told = () => grown().then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    // What a run leaves is its model, until the next one takes its place.
    await grown();
    const before = await state();
    const errors = [];
    const living = [];
    let refused = 0;
    for (; ; refused += apart) {
      faults.postMessage({ refuse: refused });
      errors.push(await told());
      const { buffers, left } = await state();
      living.push(buffers);
      if (left >= 0) break;
    }
    const last = errors.pop();
    cloche.dispose();
    return { before: before.buffers, errors, last, living, refused };
  }, /** @type {const} */ ([{ ...RUNS["grow"], steps: 2, evalEvery: 1, sampleAt: [1] }, apart]));
  assert.ok(found.errors.length >= 2, `${found.errors.length} allocations were refused`);
  for (const error of found.errors) assert.match(error, /^OUT_OF_MEMORY: out of GPU memory: ".+" needs \d+ bytes/);
  assert.equal(found.last, "none", "with enough memory it grows");
  assert.ok(Math.max(...found.living) <= found.before, `${found.before} buffers before, then ${found.living}`);
  return `${found.errors.length} of ${found.refused} allocations, ${found.before} buffers`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { losses: { type: "string", default: "50" }, allocations: { type: "string", default: "1" } } });
  /** @param {string} folder */
  const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
  const server = await serveFolders({ "/checks/": at("checks"), "/pkg/": at("../../pkg/dist") });
  const browser = await launchChromium();
  const page = await browser.newPage();
  await page.goto(`${server.origin}/checks/empty.html`);
  for (let left = Number(values.losses); left > 0; left -= 10) console.log(await endure(page, Math.min(left, 10)));
  if (Number(values.allocations) > 0) console.log(await refuseBuffers(page, Number(values.allocations)));
  await browser.close();
  server.close();
}
