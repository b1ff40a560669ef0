/** The stages as a page uses the package, in Chromium on the CPU device: teach, ask, judge, save, and carry on. */
import assert from "node:assert/strict";
import { BESIDE } from "./beside.js";
import { CLOCKED } from "./clocked.js";
import { FAULTS } from "./faults.js";
import { FETCHING } from "./fetching.js";
import { GUESSING } from "./guessing.js";
import { GUIDE } from "./guide.js";
import { KEEPING } from "./keeping.js";
import { KERNELS } from "./kernels.js";
import { LOOKING } from "./looking.js";
import { RESUMING } from "./resuming.js";
import { launchChromium } from "./stacks.js";
import { THREADS } from "./threads.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("../../pkg/src/tuning.js").TuneEvent} TuneEvent */
/** @typedef {{ events: TuneEvent[], answer: string, files: Record<string, string> }} Taught */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
const SCENES = [
  ["a new model is taught a task and answers", teachTask],
  ["a model that grew is taught to chat, saved as an adapter, and loaded again", teachGrown],
  ["records of a page make a reward model, and it judges", judgeAnswers],
  ["a page's own judge rewards, and its faults are named", ownJudge],
  ["comparisons, and another model, teach too", teachOtherwise],
  ["old data is mixed in, and examples share rows", mixSources],
  ["a model speaks by the template that it came with", foreignTemplate],
  ["what cannot be learnt from is named", refuse],
  ...RESUMING,
  ...KEEPING,
  ...FAULTS,
  ...CLOCKED,
  ...LOOKING,
  ...BESIDE,
  ...KERNELS,
  ...GUESSING,
  ...THREADS,
  ...FETCHING,
  ...GUIDE,
];

/**
 * @param {string} origin
 * @param {string} only
 * @returns {AsyncGenerator<import("./stacks.js").Outcome>}
 */
export async function* checkTeaching(origin, only) {
  const browser = await launchChromium();
  try {
    for (const [name, scene] of SCENES.filter(([name]) => name.includes(only))) {
      const page = await browser.newPage();
      await page.goto(`${origin}/checks/empty.html`);
      const started = performance.now();
      const outcome = await scene(page).then(
        (note) => ({ note: note ?? "" }),
        (error) => ({ error: String(error?.message ?? error) }),
      );
      yield { name, ms: performance.now() - started, ...outcome };
      await page.close();
    }
  } finally {
    await browser.close();
  }
}

/**
 * The held-out losses of the first scene as the command line has them:
 *
 *     cloche sft --init tiny --data task:copy --steps 60 --lr 3e-3 --examples 500 --exam 8 --eval-every 30 --device cpu
 */
const NATIVE_LOSSES = [4.569227, 1.7900981, 1.691456];

/** The numbers of a kind of event by their name. @param {TuneEvent[]} events @param {string} kind @param {string} name */
function numbers(events, kind, name) {
  return events.filter(({ event }) => event === kind).map((event) => /** @type {any} */ (event)[name]);
}

/** @param {Page} page */
async function teachTask(page) {
  const { events, answer, files } = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const events = [];
    const options = { data: "task:copy", init: "tiny", steps: 60, lr: 3e-3, examples: 500, exam: 8, evalEvery: 30 };
    for await (const event of cloche.sft(options)) events.push(event);
    let answer = "";
    for await (const piece of cloche.generate("copy: a b c =", { temperature: 0, maxTokens: 12 })) answer += piece;
    const decode = (/** @type {[string, Uint8Array]} */ [name, bytes]) => [name, new TextDecoder().decode(bytes)];
    const files = Object.fromEntries([...(await cloche.export())].map(decode));
    cloche.dispose();
    return /** @type {Taught} */ ({ events, answer, files });
  });
  const losses = numbers(events, "eval", "held_out_loss");
  assert.equal(losses.length, NATIVE_LOSSES.length);
  const apart = Math.max(...NATIVE_LOSSES.map((native, at) => Math.abs(losses[at] / native - 1)));
  assert.ok(apart < 1e-3, `held-out losses ${losses}, on the command line ${NATIVE_LOSSES}`);
  const steps = numbers(events, "step", "step");
  assert.deepEqual(steps, Array.from({ length: 60 }, (_, at) => at + 1));
  const samples = events.filter(({ event }) => event === "sample");
  assert.ok(samples.length === 9 && samples.every((sample) => /^copy: /.test(/** @type {any} */ (sample).question)));
  assert.deepEqual(numbers(events, "done", "reason"), ["finished"]);
  // What the task is about, if not yet the right letters.
  assert.match(answer, /^[a-z]( [a-z])*$/);
  assert.match(files["README.md"] ?? "", /\| Stage \| sft \|/);
  assert.match(files["tokenizer_config.json"] ?? "", /chat_template/);
  assert.ok(files["model.safetensors"] && files["config.json"]);
  return `held-out loss ${losses[0]} → ${losses[2]}, ${apart.toExponential(1)} from the command line's; ${JSON.stringify(answer)}`;
}

/** @param {Page} page */
async function teachGrown(page) {
  const { phases, names, answers, refusal } = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const grow = { data: "stories", preset: "tiny", steps: 3, contextLen: 256, batchSize: 2, chatTokens: true, evalEvery: 0 };
    for await (const _ of cloche.grow(grow));
    const base = await cloche.export();
    const ask = async () => {
      let answer = "";
      const asked = [{ role: "user", content: "Who are you?" }];
      for await (const piece of cloche.chat(asked, { temperature: 0, maxTokens: 8 })) answer += piece;
      return answer;
    };
    const phases = [];
    const lora = { rank: 2 };
    for await (const event of cloche.sft({ data: "lessons", steps: 2, batchSize: 2, examples: 20, exam: 2, evalEvery: 0, lora })) {
      phases.push(event.event);
    }
    const adapter = await cloche.export();
    const answers = [await ask()];
    await cloche.load(new Map([...base, ...adapter]));
    answers.push(await ask());
    base.delete("config.json");
    const refusal = await cloche.load(base).catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
    answers.push(await ask());
    cloche.dispose();
    return { phases, names: [...adapter.keys()], answers, refusal };
  });
  assert.equal(phases.at(-1), "done");
  assert.deepEqual(names.slice(0, 3), ["adapter_config.json", "adapter_model.safetensors", "README.md"]);
  assert.ok(names.includes("tokenizer.json"));
  assert.equal(answers[1], answers[0], "the adapter beside its base answers as before");
  assert.equal(refusal, "CHECKPOINT: config.json is not there");
  assert.equal(answers[2], answers[0], "what cannot be loaded takes nothing away");
  return JSON.stringify(answers[0]);
}

/** Options of a few short steps of a new model, and records that a page brings along. */
const SHORT = { steps: 2, batchSize: 4, exam: 4, evalEvery: 0 };
const SUMS = Array.from({ length: 30 }, (_, n) => ({ prompt: `${n}+1=`, chosen: `${n + 1}`, rejected: `${n + 2}` }));

/** @param {Page} page */
async function judgeAnswers(page) {
  const { reward, ppo, files, second } = await page.evaluate(
    async ([short, sums]) => {
      const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
      const cloche = await Cloche.create({ device: "cpu" });
      const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
      await collect(cloche.sft({ ...short, data: "task:addition", init: "tiny", contextLen: 32, examples: 40 }));
      const none = await collect(cloche.ppo({ ...short, data: sums, judge: true })).catch((/** @type {any} */ error) => error.code);
      const reward = await collect(cloche.reward({ ...short, data: sums }));
      const ppo = await collect(cloche.ppo({ ...short, data: sums, judge: true, maxTokens: 4, epochs: 2 }));
      const decode = (/** @type {[string, Uint8Array]} */ [name, bytes]) => [name, new TextDecoder().decode(bytes)];
      const files = Object.fromEntries([...(await cloche.export({ judge: true }))].map(decode));
      cloche.dispose();
      return { reward, ppo, files, second: none };
    },
    /** @type {const} */ ([SHORT, SUMS]),
  );
  assert.equal(second, "NO_MODEL", "without a reward model nobody judges");
  assert.ok(numbers(reward, "eval", "held_out_accuracy").length === 2);
  assert.match(files["config.json"] ?? "", /ForSequenceClassification/);
  assert.match(files["README.md"] ?? "", /\| Stage \| reward \|/);
  // A reward model that has hardly learnt gives every answer a number of its own.
  assert.ok(numbers(ppo, "step", "reward_std").every((deviation) => deviation > 0));
  assert.deepEqual(numbers(ppo, "done", "reason"), ["finished"]);
}

/** @param {Page} page */
async function ownJudge(page) {
  const { events, fault } = await page.evaluate(
    async ([short]) => {
      const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
      const cloche = await Cloche.create({ device: "cpu" });
      const grpo = { ...short, init: "tiny", contextLen: 32, maxTokens: 6, group: 4, verifier: "/checks/judge.js" };
      const events = [];
      for await (const event of cloche.grpo({ ...grpo, data: "task:reverse", examples: 40 })) events.push(event);
      const data = Array.from({ length: 30 }, (_, n) => ({ prompt: `fault ${n}`, answer: "none" }));
      const fault = await (async () => {
        for await (const _ of cloche.grpo({ ...grpo, data }));
      })().catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
      cloche.dispose();
      return { events, fault };
    },
    /** @type {const} */ ([SHORT]),
  );
  const rewards = numbers(events, "step", "reward");
  // Six tokens at most, of which the longest is `<|assistant|>`.
  assert.ok(rewards.length === 2 && rewards.every((reward) => reward > 1 / 80 && reward < 1), `rewards ${rewards}`);
  assert.equal(fault, "VERIFIER: verifier: a fault of the page's judge");
  return `rewards ${rewards}`;
}

/** @param {Page} page */
async function teachOtherwise(page) {
  const { dpo, distill } = await page.evaluate(
    async ([short, sums]) => {
      const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
      const cloche = await Cloche.create({ device: "cpu" });
      const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
      const dpo = await collect(cloche.dpo({ ...short, data: sums, init: "tiny", contextLen: 32 }));
      const teacher = await cloche.export();
      const distill = await collect(
        cloche.distill({ ...short, data: "task:addition", examples: 40, init: "llama-tiny", contextLen: 32, teacher }),
      );
      cloche.dispose();
      return { dpo, distill };
    },
    /** @type {const} */ ([SHORT, SUMS]),
  );
  const first = numbers(dpo, "step", "loss")[0];
  assert.ok(Math.abs(first - Math.LN2) < 1e-5, `DPO begins at its reference: ${first}`);
  const divergences = numbers(distill, "eval", "held_out_divergence");
  assert.ok(divergences[1] < divergences[0], `divergences ${divergences}`);
}

/**
 * The losses of the first three steps and the held-out losses as the command line has them:
 *
 *     cloche sft --init tiny --context-len 64 --data task:copy --steps 6 --batch-size 4 --examples 60 --exam 4 \\
 *         --eval-every 0 --mix stories=0.2 --mix task:addition=0.3 --packing --device cpu
 *     cloche ppo --init tiny --context-len 64 --data task:copy --steps 3 --batch-size 4 --examples 60 --exam 4 \\
 *         --eval-every 0 --max-tokens 6 --pretraining stories --pretraining-weight 0.5 --device cpu
 */
const NATIVE_MIX = {
  sft: [4.599729, 4.422136, 4.282309],
  heldOut: [4.6172104, 3.998821],
  ppo: [2.2126002, 2.2281547, 2.2378874],
};

/** @param {Page} page */
async function mixSources(page) {
  const { sft, ppo, card } = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const short = { data: "task:copy", init: "tiny", contextLen: 64, batchSize: 4, examples: 60, exam: 4, evalEvery: 0 };
    const mix = { stories: 0.2, "task:addition": 0.3 };
    const sft = await collect(cloche.sft({ ...short, steps: 6, packing: true, mix }));
    const card = new TextDecoder().decode((await cloche.export()).get("README.md"));
    const rewarded = { ...short, steps: 3, maxTokens: 6, pretraining: "stories", pretrainingWeight: 0.5 };
    const ppo = await collect(cloche.ppo(rewarded));
    cloche.dispose();
    return { sft, ppo, card };
  });
  const found = {
    sft: numbers(sft, "step", "loss").slice(0, 3),
    heldOut: numbers(sft, "eval", "held_out_loss"),
    ppo: numbers(ppo, "step", "loss"),
  };
  let apart = 0;
  for (const [name, native] of Object.entries(NATIVE_MIX)) {
    const losses = /** @type {Record<string, number[]>} */ (found)[name] ?? [];
    assert.equal(losses.length, native.length, name);
    apart = Math.max(apart, ...native.map((loss, at) => Math.abs(Number(losses[at]) / loss - 1)));
  }
  assert.ok(apart < 1e-3, `${JSON.stringify(found)}, on the command line ${JSON.stringify(NATIVE_MIX)}`);
  assert.match(card, /Cloche's task copy, difficulty 1, 20 % Cloche's built-in stories, 30 % Cloche's task addition/);
  return `${apart.toExponential(1)} from the command line's losses`;
}

/** @param {Page} page */
async function foreignTemplate(page) {
  const { answers, template, events, errors } = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const short = { steps: 2, batchSize: 2, examples: 20, exam: 2, evalEvery: 0 };
    for await (const _ of cloche.sft({ ...short, data: "task:copy", init: "tiny", contextLen: 200 }));
    const files = await cloche.export();
    const ask = async () => {
      let answer = "";
      const asked = [{ role: "user", content: "Who are you?" }];
      for await (const piece of cloche.chat(asked, { temperature: 0, maxTokens: 4 })) answer += piece;
      return answer;
    };
    const theirs = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    // Ours as somebody else would write it, and one that never ends, in the other place where templates lie.
    const answers = [await ask()];
    const encode = (/** @type {string} */ text) => new TextEncoder().encode(text);
    await cloche.load(new Map([...files, ["chat_template.jinja", encode(theirs)]]));
    answers.push(await ask());
    const events = [];
    const lessons = { ...short, data: [{ messages: [{ role: "user", content: "1?" }, { role: "assistant", content: "2!" }] }] };
    lessons.data.push(...lessons.data);
    for await (const event of cloche.sft(lessons)) events.push(event);
    const config = new TextDecoder().decode((await cloche.export()).get("tokenizer_config.json"));
    const errors = [];
    for (const template of ["{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "{% if %}"]) {
      await cloche.load(new Map([...files, ["chat_template.jinja", encode(template)]]));
      errors.push(await ask().catch((/** @type {any} */ error) => `${error.code}: ${error.message}`));
    }
    cloche.dispose();
    return { answers, template: JSON.parse(config).chat_template === theirs, events, errors };
  });
  assert.equal(answers[1], answers[0], "the same template in other words gives the same answer");
  assert.ok(template, "the template is kept with the model");
  assert.deepEqual(numbers(events, "done", "reason"), ["finished"]);
  assert.match(errors[0] ?? "", /^TEMPLATE: chat template: it does not end within 500000 steps/);
  assert.match(errors[1] ?? "", /^TEMPLATE: chat template: /);
}

/** @param {Page} page */
async function refuse(page) {
  const found = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const file = new File(['{"prompt": "1", "completion": "2"}\n{"prompt": "1"}\n'], "sums.jsonl");
    const wrong = [
      { data: "lessons" },
      { data: "leessons", init: "tiny" },
      { data: "task:adition", init: "tiny" },
      { data: "task:addition:99", init: "tiny" },
      { data: file, init: "tiny" },
      { data: [{ text: "alone" }], init: "tiny" },
      { data: [{ messages: [{ role: "assistant", content: "Hi." }] }, { text: "b" }], init: "tiny" },
      { data: "task:copy", init: "tiny", contextLen: 4, examples: 10 },
      { data: "task:copy", init: "tiny", examples: 10, learningRate: 1 },
    ];
    const errors = [];
    for (const options of wrong) {
      try {
        for await (const _ of cloche.sft(options));
        errors.push("none");
      } catch (error) {
        errors.push(`${/** @type {any} */ (error).code}: ${/** @type {any} */ (error).message}`);
      }
    }
    cloche.dispose();
    return errors;
  });
  const expected = [
    /^NO_MODEL: there is no model to begin with/,
    /^SETTINGS: data: found "leessons", expected lessons, manners/,
    /^SETTINGS: task: found "adition", expected one of copy, /,
    /^SETTINGS: difficulty of addition: found "99", expected 1 to \d+$/,
    /sums\.jsonl line 2: field "completion" is missing|sums\.jsonl line 2: /,
    /^DATA: data: found 1 records, expected at least 2/,
    /data line 1: field "messages\[0\]\.role" is "assistant", expected "user"/,
    /^DATA: data: /,
    /^SETTINGS: settings: found learning_rate, expected one of /,
  ];
  for (const [at, pattern] of expected.entries()) assert.match(found[at] ?? "", pattern);
}
