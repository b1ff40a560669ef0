/** Runs that go on from a checkpoint in another worker, which has nothing else: bit for bit what an uninterrupted run is. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {{ start: number, whole: number[], rest: number[], same: boolean, bytes: number }} Resumed */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const RESUMING = [
  ["pre-training goes on as if it had never stopped", (page) => resumed(page, ["grow"])],
  ["fine-tuning goes on, of a whole model and beside one", (page) => resumed(page, ["sft", "sft beside"])],
  ["learning from comparisons goes on", (page) => resumed(page, ["reward", "dpo"])],
  ["learning from rewards goes on, with the judge and the model at the beginning", (page) => resumed(page, ["ppo", "grpo"])],
  ["learning from another model goes on with it", (page) => resumed(page, ["distill"])],
  ["a checkpoint of another run is refused, and a damaged one", refuse],
];

const GROW = { data: "to be or not to be, that is the question. ".repeat(60), steps: 8, contextLen: 32, batchSize: 2, chatTokens: true };
const SHORT = { steps: 16, batchSize: 4, exam: 4, evalEvery: 0, init: "tiny", contextLen: 32 };
const SUMS = Array.from({ length: 30 }, (_, n) => ({ prompt: `${n}+1=`, chosen: `${n + 1}`, rejected: `${n + 2}` }));
const TASK = { ...SHORT, data: "task:addition", examples: 40 };

/** What the runs are asked for, by a name that begins with their stage. @type {Record<string, any>} */
const RUNS = {
  grow: { ...GROW, dropout: 0.1 },
  sft: TASK,
  "sft beside": { ...TASK, lora: { rank: 2, dropout: 0.1 } },
  reward: { ...SHORT, data: SUMS },
  dpo: { ...SHORT, data: SUMS },
  ppo: { ...SHORT, data: SUMS, init: undefined, contextLen: undefined, judge: true, maxTokens: 4, epochs: 2 },
  grpo: { ...TASK, beta: 0.1, group: 4, maxTokens: 6 },
  distill: { ...TASK, init: "llama-tiny" },
};

/** @param {Page} page @param {string[]} names */
async function resumed(page, names) {
  const notes = [];
  for (const name of names) {
    const { start, whole, rest, same, bytes } = await page.evaluate(runTwice, /** @type {const} */ ([name, RUNS[name], TASK]));
    assert.ok(start > 0 && start < whole.length, `${name}: saved at step ${start} of ${whole.length}`);
    assert.deepEqual(rest, whole.slice(start), `${name}: losses from step ${start} on`);
    assert.ok(same, `${name}: what has learnt differs`);
    notes.push(`${name} from step ${start}, ${(bytes / 1e6).toFixed(1)} MB`);
  }
  return notes.join("; ");
}

/** Runs in the page. @param {readonly [string, any, any]} asked @returns {Promise<Resumed>} */
async function runTwice([name, options, task]) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const stage = /** @type {string} */ (name.split(" ")[0]);
  const first = await Cloche.create({ device: "cpu" });
  const drain = async (/** @type {AsyncIterable<any>} */ run) => {
    for await (const _ of run);
  };
  if (stage === "ppo") {
    await drain(first.sft({ ...task, steps: 2 }));
    await drain(first.reward({ ...task, data: options.data, init: undefined, contextLen: undefined, steps: 2, lora: { rank: 2 } }));
  }
  if (stage === "distill") {
    await drain(first.sft({ ...task, steps: 2 }));
    options = { ...options, teacher: await first.export() };
  }
  const learnt = async (/** @type {any} */ cloche) => {
    const files = await cloche.export({ judge: stage === "reward" });
    return files.get("model.safetensors") ?? files.get("adapter_model.safetensors");
  };
  let saved;
  const whole = [];
  const run = first[stage](options);
  for await (const event of run) {
    if (event.event !== "step") continue;
    whole.push(event.loss);
    saved ??= run.checkpoint();
  }
  const expected = await learnt(first);
  first.dispose();
  const files = await saved;
  const second = await Cloche.create({ device: "cpu" });
  let start = -1;
  const rest = [];
  for await (const event of second[stage]({ data: options.data, resume: files })) {
    if (event.event === "start") start = event.step;
    if (event.event === "step") rest.push(event.loss);
  }
  const found = await learnt(second);
  second.dispose();
  const same = found.length === expected.length && found.every((/** @type {number} */ byte, /** @type {number} */ at) => byte === expected[at]);
  const bytes = [...files.values()].reduce((sum, { length }) => sum + length, 0);
  return { start, whole, rest, same, bytes };
}

/** @param {Page} page */
async function refuse(page) {
  const found = await page.evaluate(
    async ([grow, task]) => {
      const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
      const cloche = await Cloche.create({ device: "cpu" });
      const told = (/** @type {Promise<unknown>} */ outcome) =>
        outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
      const drain = async (/** @type {AsyncIterable<any>} */ run) => {
        for await (const _ of run);
      };
      const before = cloche.grow(grow);
      const errors = [await told(before.checkpoint())];
      await drain(before);
      // A run that has ended can be made longer.
      const grown = await before.checkpoint();
      const longer = [];
      for await (const event of cloche.grow({ data: grow.data, resume: grown, steps: grow.steps + 2 })) {
        if (event.event === "step") longer.push(event.step);
      }
      const run = cloche.sft(task);
      await drain(run);
      const taught = await run.checkpoint();
      const damaged = new Map(grown);
      const weights = Uint8Array.from(/** @type {Uint8Array} */ (grown.get("optimizer.safetensors")));
      weights[weights.length - 9] = 255 - Number(weights.at(-9));
      damaged.set("optimizer.safetensors", weights);
      const lacking = new Map(grown);
      lacking.delete("tokenizer_config.json");
      const { data } = grow;
      errors.push(
        await told(drain(cloche.grow({ data: data.replaceAll("question", "quest"), resume: grown }))),
        await told(drain(cloche.grow({ data, resume: grown, tokenizer: "byte" }))),
        await told(drain(cloche.grow({ data, resume: grown, steps: 2 }))),
        await told(drain(cloche.grow({ data, resume: damaged }))),
        await told(drain(cloche.grow({ data, resume: lacking }))),
        await told(drain(cloche.grow({ data, resume: new Map() }))),
        await told(drain(cloche.grow({ data, resume: taught }))),
        await told(drain(cloche.sft({ ...task, resume: taught, lr: 0.5 }))),
        await told(drain(cloche.sft({ ...task, resume: taught, data: "task:copy" }))),
      );
      cloche.dispose();
      return { errors, longer };
    },
    /** @type {const} */ ([{ ...GROW, steps: 3 }, { ...TASK, steps: 2 }]),
  );
  assert.deepEqual(found.longer, [4, 5]);
  const expected = [
    /^NO_MODEL: there is no run to make a checkpoint of$/,
    /^CHECKPOINT_DIFFERS: checkpoint of another run: the data's SHA-256 is \w{64}, expected \w{64}$/,
    /^CHECKPOINT_DIFFERS: checkpoint of another run: tokenizer is char, expected byte$/,
    /^CHECKPOINT_DIFFERS: checkpoint of another run: step is 3, expected at most 2$/,
    /^CHECKPOINT: checkpoint file "optimizer\.safetensors": found \d+ bytes with SHA-256 \w+, expected \d+ bytes/,
    /^CHECKPOINT: checkpoint file "tokenizer_config\.json": found nothing, expected a file$/,
    /^CHECKPOINT: checkpoint file "run\.json": found nothing, expected a file$/,
    /^CHECKPOINT_DIFFERS: checkpoint of another run: the stage is sft, expected grow$/,
    /^CHECKPOINT_DIFFERS: checkpoint of another run: lr is 0\.001\d*, expected 0\.5$/,
    /^CHECKPOINT_DIFFERS: checkpoint of another run: the data's SHA-256 is /,
  ];
  assert.equal(found.errors.length, expected.length);
  for (const [at, pattern] of expected.entries()) assert.match(found.errors[at] ?? "", pattern);
}
