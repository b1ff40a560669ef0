/** The face of the stages: what JavaScript can do with a model and a stage, and what bad input gets. On the CPU. */

/** @typedef {any} Engine the module with the stages, as wasm-bindgen makes it */

/** Tokens of the little language: letters, and the end of an answer. */
const VOCAB_SIZE = 8;
const END = 7;
const OPTIONS = { stop_ids: [END], max_tokens: 3, data_name: "the check's", base_name: "tiny", is_new: true };
const RUN = { steps: 2, batch_size: 2, eval_every: 0 };

/** @type {[string, (engine: Engine) => Promise<string | void>][]} */
export const STAGE_CHECKS = [
  ["a model goes through its files unchanged", throughFiles],
  ["a stage is pulled, sampled, stopped and saved", pulled],
  ["a verifier's faults are named", verifierFaults],
  ["settings and data that cannot be meant are named", refusals],
];

/** @param {Engine} module */
async function begin({ Engine, Material }) {
  const engine = await Engine.open("cpu");
  const material = new Material();
  for (const heldOut of [false, true]) {
    for (const letter of [1, 2, 3]) {
      const ids = Uint32Array.of(letter, 0, letter, END);
      material.example(heldOut, ids, Uint8Array.of(0, 0, 1, 1));
      material.prompt(heldOut, Uint32Array.of(letter, 0));
    }
  }
  return { engine, material, model: engine.newModel("tiny", VOCAB_SIZE, 8, 1) };
}

/** @param {any} model @returns {Promise<number[]>} the likeliest answer */
async function answer(model) {
  const generator = model.generate(Uint32Array.of(1, 0), { temperature: 0, max_tokens: 4, stop_ids: [END] });
  const ids = [];
  for (let some; (some = await generator.next()); ) ids.push(...some.filter((/** @type {number} */ id, /** @type {number} */ i) => i % 3 === 0 && id >= 0));
  generator.free();
  return ids;
}

/** @param {boolean} holds @param {string} otherwise */
function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** @param {Engine} module */
async function throughFiles(module) {
  const { engine, model } = await begin(module);
  const files = await model.files();
  const again = await engine.openModel(files);
  const [first, second] = [files, await again.files()].map((all) => new Map(all).get("model.safetensors"));
  expect(first.length > 1000 && first.every((/** @type {number} */ byte, /** @type {number} */ at) => byte === second[at]), "the weights differ");
  expect(String(await answer(model)) === String(await answer(again)), "the answers differ");
  const broken = files.filter((/** @type {string[]} */ [name]) => name !== "config.json");
  const error = await engine.openModel(broken).catch((/** @type {any} */ error) => error);
  expect(error.code === "CHECKPOINT" && error.message === "config.json is not there", String(error));
  return `${first.length} bytes`;
}

/** @param {Engine} module */
async function pulled(module) {
  const { engine, material, model } = await begin(module);
  material.verifier((/** @type {boolean} */ _, /** @type {Uint32Array} */ questions) =>
    Float32Array.from(Array.from(questions).flatMap((question) => [question, Number(question === 2)])),
  );
  const options = { ...OPTIONS, ...RUN, steps: 1000, lora: { rank: 2 } };
  const tune = await engine.startStage("sft", model, JSON.stringify(options), material);
  const learner = tune.model();
  const events = [];
  for (let event; (event = await tune.next()); ) {
    events.push(event);
    if (event.event === "step" && event.step === 2) {
      await answer(learner);
      tune.stop();
    }
  }
  const [start, exam, ...rest] = events;
  expect(start.event === "start" && start.stage === "sft" && start.n_trained < start.n_params, JSON.stringify(start));
  // Questions 0, 1 and 2 are worth as much, and the last one counts as right.
  expect(exam.event === "eval" && exam.exam_reward === 1 && Math.abs(exam.exam_correct - 1 / 3) < 1e-6, JSON.stringify(exam));
  const samples = rest.filter(({ event }) => event === "sample");
  expect(samples.length >= 3 && samples.every(({ ids }) => Array.isArray(ids)), JSON.stringify(samples));
  const done = events.at(-1);
  expect(done.event === "done" && done.reason === "stopped" && done.step === 2, JSON.stringify(done));
  const names = (await learner.files()).map((/** @type {string[]} */ [name]) => name);
  expect(String(names) === "adapter_config.json,adapter_model.safetensors,README.md", String(names));
  // And another stage begins where this one ended, on the model with what was learnt beside it.
  const next = new module.Material();
  for (const heldOut of [false, true]) {
    next.ranking(heldOut);
    for (const letter of [1, 2]) next.answer(heldOut, Uint32Array.of(1, 0, letter, END), Uint8Array.of(0, 0, 1, 1));
  }
  const reward = await engine.startStage("reward", learner, JSON.stringify({ ...OPTIONS, ...RUN }), next);
  for (let event; (event = await reward.next()); ) events.push(event);
  expect(events.at(-1).reason === "finished" && reward.model().scores, JSON.stringify(events.at(-1)));
}

/** @param {Engine} module */
async function verifierFaults(module) {
  /** @type {[() => unknown, RegExp][]} */
  const faults = [
    [() => { throw new Error("my own fault"); }, /^verifier: my own fault$/],
    [() => { throw "a word"; }, /^verifier: a word$/],
    [() => new Float32Array(12).fill(NaN), /^verifier: answer 0 to question \d: found reward NaN, expected a finite number$/],
    [() => Float32Array.of(1, 1), /^verifier: found 1 verdicts, expected one for each of 6 answers$/],
    [() => 7, /^verifier: /],
  ];
  for (const [fault, expected] of faults) {
    const { engine, model } = await begin(module);
    const material = new module.Material();
    material.prompt(false, Uint32Array.of(1, 0));
    material.prompt(false, Uint32Array.of(2, 0));
    material.verifier(fault);
    const tune = await engine.startStage("grpo", model, JSON.stringify({ ...OPTIONS, ...RUN, group: 3 }), material);
    const error = await (async () => {
      while (await tune.next());
    })().catch((/** @type {any} */ error) => error);
    expect(error?.code === "VERIFIER" && expected.test(error.message), `${error?.code} ${error?.message}, expected ${expected}`);
    expect((await tune.next()) === undefined, "a stage goes on after its error");
  }
}

/** @param {Engine} module */
async function refusals(module) {
  /** @type {[string, object, string, RegExp][]} */
  const wrong = [
    ["sft", { learning_rate: 1 }, "SETTINGS", /^settings: found learning_rate, expected one of batch_size, /],
    ["sft", { lr: "fast" }, "SETTINGS", /^lr: found "fast", expected such as 0\.001/],
    ["sft", { lr: -1 }, "SETTINGS", /^lr: found -1, expected a number above 0/],
    ["sft", { lora: { targets: ["nothing"] } }, "SETTINGS", /"nothing" matches nothing/],
    ["sgd", {}, "SETTINGS", /^stage: found sgd, expected sft, reward, dpo, ppo, grpo or distill$/],
    ["reward", {}, "DATA", /^no ranking: expected at least one$/],
    ["distill", {}, "SETTINGS", /^teacher: found none/],
    ["grpo", {}, "DATA", /^verifier: found none/],
  ];
  for (const [stage, options, code, expected] of wrong) {
    const { engine, material, model } = await begin(module);
    // Without questions there is no exam, and so no verifier is missed before the fault that is meant.
    const examples = stage === "grpo" ? material : new module.Material();
    if (examples !== material) {
      for (const heldOut of [false, true]) examples.example(heldOut, Uint32Array.of(1, 0, 1, END), Uint8Array.of(0, 0, 1, 1));
    }
    const all = JSON.stringify({ ...OPTIONS, ...RUN, ...options });
    const error = await engine.startStage(stage, model, all, examples).catch((/** @type {any} */ error) => error);
    expect(error.code === code && expected.test(error.message), `${error.code} ${error.message}, expected ${expected}`);
  }
}
