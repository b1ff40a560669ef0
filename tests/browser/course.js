/**
 * The short course in headless Chromium on the CPU device, and the same stages on the command line: pre-training, then sft,
 * reward, dpo, ppo, grpo and distill, each from what the one before it has left. Prints how far apart the curves are.
 *
 *     cargo xtask start --no-serve && cargo build --release --package cloche
 *     node tests/browser/course.js [--steps 20] [--cloche target/release/cloche] [--json]
 *
 * Seeds, data and settings are the same in both, so the curves should be, but for rounding. `--json` prints every number
 * that was compared.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { serveFolders } from "./server.js";
import { launchChromium } from "./stacks.js";

/** @typedef {Record<string, any> & { event: string }} Event */
/** @typedef {{ name: string, options: Record<string, any>, files: Record<string, string> }} Chapter */

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "20" },
    cloche: { type: "string", default: "target/release/cloche" },
    json: { type: "boolean", default: false },
  },
});
const steps = Number(values.steps);
const short = { steps, batchSize: 4, examples: 200, exam: 6, evalEvery: 0, maxTokens: 12 };

/**
 * The chapters: options as the package has them, from which the command line's follow, and the folders that only the command
 * line names.
 * @type {Chapter[]}
 */
const CHAPTERS = [
  {
    name: "grow",
    options: { data: "stories", tokenizer: "char", preset: "tiny", steps, contextLen: 256, batchSize: 4, evalEvery: 10 * steps, chatTokens: true, sampleAt: [] },
    files: {},
  },
  { name: "sft", options: { ...short, data: "lessons", mix: { stories: 0.2 }, packing: true }, files: { model: "grow" } },
  { name: "reward", options: { ...short, data: "preferences", maxTokens: undefined }, files: { model: "sft" } },
  { name: "dpo", options: { ...short, data: "preferences" }, files: { model: "sft" } },
  { name: "ppo", options: { ...short, data: "lessons", judge: true, epochs: 2 }, files: { model: "dpo", judge: "reward" } },
  { name: "grpo", options: { ...short, data: "lessons", group: 4, beta: 0.05 }, files: { model: "ppo" } },
  { name: "distill", options: { ...short, data: "lessons" }, files: { model: "grpo", teacher: "sft" } },
];

/** Runs in the page: the whole course, told chapter by chapter. @param {Chapter[]} chapters */
async function study(chapters) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const { report } = /** @type {any} */ (globalThis);
  const cloche = await Cloche.create({ device: "cpu" });
  /** @type {Record<string, any>} */
  const left = {};
  for (const { name, options, files } of chapters) {
    const teacher = files["teacher"] && left[files["teacher"]];
    for await (const event of cloche[name](teacher ? { ...options, teacher } : options)) await report(name, event);
    left[name] = await cloche.export();
  }
  cloche.dispose();
}

/** Options as the command line spells them. @param {Chapter} chapter @param {string} folder */
function commandLine({ name, options, files }, folder) {
  const words = [name === "grow" ? "train" : name, "--device", "cpu", "--json", "--out", join(folder, name)];
  // As many as a page reads, so that one waits less.
  if (name === "grow") words.push("--stories-bytes", "4000000");
  for (const [option, value] of Object.entries(options)) {
    const spelled = `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (option === "mix") words.push(...Object.entries(value).flatMap(([source, share]) => [spelled, `${source}=${share}`]));
    else if (value === true && !(option in files)) words.push(spelled);
    else if (typeof value === "number" || typeof value === "string") words.push(spelled, String(value));
    else if (Array.isArray(value)) words.push(spelled);
  }
  for (const [option, chapter] of Object.entries(files)) words.push(`--${option}`, join(folder, chapter));
  return words;
}

/** What is compared of a run: each metric of its steps and evaluations as a curve. @param {Event[]} events */
function curves(events) {
  const unmeasured = ["event", "step", "lr", "tokens_per_s", "seconds_left"];
  /** @type {Map<string, number[]>} */
  const curves = new Map();
  for (const event of events.filter(({ event }) => event === "step" || event === "eval")) {
    for (const [metric, value] of Object.entries(event).filter(([metric]) => !unmeasured.includes(metric))) {
      const name = `${event.event} ${metric}`;
      curves.set(name, [...(curves.get(name) ?? []), Number(value)]);
    }
  }
  return curves;
}

/**
 * The largest difference between two curves, of the largest number in the command line's: of what may be near to 0, such as
 * the loss of a policy, a share of itself would say nothing.
 * @param {number[]} native @param {number[]} found
 */
function apart(native, found) {
  if (native.length !== found.length) return Infinity;
  const scale = Math.max(...native.map(Math.abs));
  const most = Math.max(...native.map((value, at) => Math.abs(value - Number(found[at]))));
  return most === 0 ? 0 : most / scale;
}

/** @param {string} folder */
const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "cloche-course-"));
const server = await serveFolders({ "/checks/": at("checks"), "/pkg/": at("../../pkg/dist") });
const browser = await launchChromium();
/** @type {Map<string, Event[]>} */
const told = new Map();
try {
  const page = await browser.newPage();
  await page.exposeFunction("report", (/** @type {string} */ name, /** @type {Event} */ event) => {
    told.set(name, [...(told.get(name) ?? []), event]);
  });
  await page.goto(`${server.origin}/checks/empty.html`);
  await page.evaluate(study, CHAPTERS);
  console.log("| stage | steps | loss, first → last | losses apart | the metric furthest apart |\n|---|---|---|---|---|");
  for (const chapter of CHAPTERS) {
    const run = await promisify(execFile)(values.cloche, commandLine(chapter, folder), { maxBuffer: 1 << 28 });
    const lines = run.stdout.split("\n").filter((line) => line.startsWith("{"));
    const native = curves(lines.map((line) => JSON.parse(line)));
    const found = curves(told.get(chapter.name) ?? []);
    const distances = [...native].map(([name, curve]) => /** @type {const} */ ([name, apart(curve, found.get(name) ?? [])]));
    distances.sort((a, b) => b[1] - a[1]);
    const losses = native.get("step loss") ?? [];
    const [metric, most] = distances[0] ?? ["none", 0];
    const loss = `${losses[0]?.toFixed(4)} → ${losses.at(-1)?.toFixed(4)}`;
    const own = apart(losses, found.get("step loss") ?? []).toExponential(1);
    console.log(`| ${chapter.name} | ${losses.length} | ${loss} | ${own} | ${metric}: ${most.toExponential(1)} |`);
    if (values.json) {
      for (const [name, curve] of native) console.log(JSON.stringify({ stage: chapter.name, name, native: curve, found: found.get(name) }));
    }
  }
} finally {
  await browser.close();
  server.close();
  await rm(folder, { recursive: true });
}
