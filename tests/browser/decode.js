/**
 * How fast a model of GPT-2's shape speaks in headless Chromium, with weights as they are and rounded, alone, with a draft and
 * eight times at once:
 *
 *     cargo xtask start --no-serve
 *     node tests/browser/decode.js [--preset gpt2] [--tokens 24] [--rounds 3] [--threads 2]
 *
 * Weights are random, and so is what is said: an answer of some tokens has the same cost whatever it is. All have their turns,
 * round after round, and the best counts. Each token of f32 reads all weights once: the last number of its line is how fast.
 */
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ISOLATED, serveFolders } from "./server.js";
import { launchChromium } from "./stacks.js";

const { values } = parseArgs({
  options: {
    preset: { type: "string", default: "gpt2" },
    tokens: { type: "string", default: "24" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "2" },
  },
});
const asked = {
  preset: values.preset,
  maxTokens: Number(values.tokens),
  rounds: Number(values.rounds),
  threads: Number(values.threads),
};

/** Runs in the page. @param {typeof asked} asked */
async function measure({ preset, maxTokens, rounds, threads }) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const cloche = await Cloche.create({ device: "cpu", threads });
  const f32 = await cloche.models.create({ preset });
  const weights = (await cloche.memory()).bytes;
  const int8 = await cloche.models.copy(f32, { quantize: "int8" });
  const int4 = await cloche.models.copy(f32, { quantize: "int4" });
  /** @type {[string, any, object][]} */
  const systems = [
    ["f32", f32, {}], ["int8", int8, {}], ["int4", int4, {}],
    ["f32, guessed by int4", f32, { draft: int4, ahead: 4 }],
    ["f32, eight at once", f32, { n: 8 }], ["int8, eight at once", int8, { n: 8 }], ["int4, eight at once", int4, { n: 8 }],
  ];
  const best = systems.map(() => Infinity);
  for (let round = 0; round < rounds; round++) {
    for (const [at, [, model, how]] of systems.entries()) {
      // The first piece of each text reads the prompt, and compiles; from then on each tells when it came.
      let [began, said] = [0, 0];
      const begun = new Set();
      for await (const { index, tokens } of model.generateTokens("Once", { temperature: 0, maxTokens, seed: 1, ...how })) {
        if (begun.has(index)) said += tokens.length;
        else began = performance.now();
        begun.add(index);
      }
      best[at] = Math.min(best[at] ?? 0, (performance.now() - began) / said);
    }
  }
  cloche.dispose();
  return { weights, threads: cloche.device.threads, times: systems.map(([name], at) => ({ name, ms: best[at] ?? 0 })) };
}

const folder = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const server = await serveFolders({ "/checks/": folder("checks"), "/pkg/": folder("../../pkg/dist") }, undefined, ISOLATED);
const browser = await launchChromium({ webgpu: false });
try {
  const page = await browser.newPage();
  await page.goto(`${server.origin}/checks/empty.html`);
  const { weights, threads, times } = await page.evaluate(measure, asked);
  const load = loadavg().map((load) => load.toFixed(1)).join(", ");
  console.log(`${asked.preset}, ${(weights / 1e6).toFixed(0)} MB in f32, ${threads} threads, load ${load}`);
  const [plain] = times;
  for (const { name, ms } of times) {
    const [rate, ratio, speed] = [1000 / ms, (plain?.ms ?? 0) / ms, weights / ms / 1e6];
    console.log(`${name}: ${ms.toFixed(1)} ms a token, ${rate.toFixed(1)} tokens/s, ${ratio.toFixed(2)} times f32${name === "f32" ? `, ${speed.toFixed(1)} GB/s` : ""}`);
  }
} finally {
  await browser.close();
  server.close();
}
