/** Faster answers: by rounded weights, by guesses of a smaller model, and many at once. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const GUESSING = [
  ["a rounded copy answers alike, a draft changes no word, and both say what they cannot do", answer],
  ["many prompts are answered a few at a time, each as if it were alone", answerMany],
];

const GROW = { data: "to be or not to be, that is the question. ".repeat(60), contextLen: 64, batchSize: 4, evalEvery: 0 };

/** @param {Page} page */
async function answer(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    await collect(cloche.grow({ ...grow, steps: 60, lr: 3e-3, chatTokens: true }));
    const model = await cloche.models.copy();
    const rounded = { int8: await cloche.models.copy(model, { quantize: "int8" }), int4: await cloche.models.copy(undefined, { quantize: "int4" }) };
    const asked = { temperature: 0.8, seed: 7, maxTokens: 24 };
    const first = async (/** @type {any} */ speaker, /** @type {any} */ options) => (await speaker.answers("to be", { ...asked, ...options }))[0];
    const greedy = { temperature: 0, maxTokens: 12 };
    const alone = await first(model, {});
    const said = {
      alone: [await first(model, greedy), await first(rounded.int8, greedy), await first(rounded.int4, greedy)],
      guessed: [await first(model, { draft: rounded.int4 }), await first(model, { draft: rounded.int8, ahead: 2 }), await first(cloche, { draft: rounded.int8 })],
    };
    const chat = [];
    for (const draft of [undefined, rounded.int4]) {
      let text = "";
      for await (const piece of model.chat([{ role: "user", content: "to be" }], { ...asked, draft })) text += piece;
      chat.push(text);
    }
    const saved = await rounded.int8.export();
    const reopened = await cloche.models.load(saved);
    const again = await first(reopened, greedy);
    const bytes = [saved, await model.export()].map((files) => files.get("model.safetensors").byteLength);
    const text = JSON.parse(new TextDecoder().decode(saved.get("config.json")));
    text.quantization_config.config_groups.group_0.weights.group_size = 64;
    const told = (/** @type {Promise<unknown>} */ outcome) => outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const other = await cloche.models.create();
    const errors = [
      await told(cloche.models.load(new Map([...saved, ["config.json", new TextEncoder().encode(JSON.stringify(text))]]))),
      await told(cloche.models.copy(rounded.int8)),
      await told(rounded.int4.probe("to be")),
      await told(cloche.models.copy(model, { quantize: "int3" })),
      await told(first(model, { draft: other })),
      await told(first(model, { draft: rounded.int8, ahead: 0 })),
      await told(first(model, { draft: rounded.int8, ahead: 1.5 })),
    ];
    await cloche.models.use(rounded.int8);
    errors.push(await told(collect(cloche.sft({ data: "task:copy", examples: 9, steps: 2, exam: 1 }))));
    const current = await first(cloche, greedy);
    const running = cloche.grow({ ...grow, steps: 1000 });
    for await (const event of running) if (event.event === "step") break;
    errors.push(await told(first(cloche, { draft: rounded.int8 })));
    cloche.dispose();
    return { alone, said, chat, errors, current, again, bytes };
  }, GROW);
  const { alone, said } = found;
  const [whole, int8, int4] = said.alone;
  assert.equal(int8.text, whole.text, "8 bits are enough for the likeliest words");
  const apart = (/** @type {any} */ answer) => Math.abs(answer.meanLogProb - whole.meanLogProb);
  const off = [apart(int8), apart(int4)];
  assert.ok(apart(int8) > 0 && apart(int8) < 0.02 && apart(int4) < 0.3, `${off} nats a token apart`);
  for (const guessed of said.guessed) {
    assert.equal(guessed.text, alone.text, "a draft changes no word");
    assert.ok(Math.abs(guessed.logProb - alone.logProb) < 1e-3, `${guessed.logProb} and ${alone.logProb} nats`);
  }
  assert.equal(found.chat[1], found.chat[0]);
  assert.equal(found.current.text, int8.text);
  assert.deepEqual(found.again, int8, "what was saved is what was spoken with");
  assert.ok(found.bytes[0] < 0.5 * found.bytes[1], `${found.bytes} bytes`);
  const quantized = /^SETTINGS: the model is quantised: it can generate and be saved, but neither learn nor be copied or probed$/;
  const expected = [
    /^CHECKPOINT: config.json: quantization_config.config_groups.group_0.weights.group_size: found 64, expected 32$/,
    quantized,
    quantized,
    /^SETTINGS: quantize: found "int3", expected "int8" or "int4"$/,
    /^SETTINGS: draft: found a model with another tokenizer, expected the same$/,
    /^SETTINGS: draft: found 0 guesses at once, expected 1 to \d+$/,
    /^SETTINGS: ahead: found 1.5, expected a whole number$/,
    quantized,
    /^SETTINGS: draft: found a model that is still growing, expected one that is not$/,
  ];
  expected.forEach((pattern, at) => assert.match(found.errors[at] ?? "", pattern));
  return `${off.map((nats) => nats.toFixed(4)).join(" and ")} nats a token`;
}

/** @param {Page} page */
async function answerMany(page) {
  const found = await page.evaluate(async (grow) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const told = (/** @type {Promise<unknown>} */ outcome) => outcome.then(() => "none", (/** @type {any} */ error) => `${error.code}: ${error.message}`);
    const cloche = await Cloche.create({ device: "cpu" });
    await collect(cloche.grow({ ...grow, steps: 60, lr: 3e-3, chatTokens: true }));
    const prompts = ["to be", "", "or not to be, that", "question", "t", "the question. to", "is the"];
    const greedy = { temperature: 0, maxTokens: 9 };
    const sort = async (/** @type {any} */ answers) => (await collect(answers)).sort((/** @type {any} */ a, /** @type {any} */ b) => a.index - b.index);
    // The model that has just grown moves to the module that can do this.
    const many = await sort(cloche.answersTo(prompts, { ...greedy, slots: 3 }));
    const each = [];
    for (const prompt of prompts) each.push((await cloche.answers(prompt, greedy))[0]);
    const drawn = { seed: 5, maxTokens: 30, stop: ["t"] };
    const seeded = await Promise.all([1, 4, 128].map((slots) => sort(cloche.answersTo(prompts, { ...drawn, slots }))));
    const long = await sort(cloche.answersTo(["to be, or not", "to be"], { ...greedy, maxTokens: 500 }));
    const talk = (/** @type {string} */ content) => [{ role: "user", content }];
    const talks = await sort(cloche.answersTo([talk("to be"), talk("or not")], greedy));
    const talked = [];
    for (const content of ["to be", "or not"]) talked.push((await cloche.answers(talk(content), greedy))[0]);
    const completed = await cloche.completions.create({ prompt: ["to be", "t"], n: 2, seed: 1, max_tokens: 4 });
    const before = await cloche.memory();
    for await (const _ of cloche.answersTo(prompts, { ...greedy, maxTokens: 500 })) break;
    // What is under way is first computed to its end.
    let after = before;
    for (let tries = 0; tries < 100 && (tries === 0 || after.buffers !== before.buffers); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      after = await cloche.memory();
    }
    const none = await collect(cloche.answersTo([]));
    const errors = [
      await told(collect(cloche.answersTo(prompts, { slots: 0 }))),
      await told(collect(cloche.answersTo(prompts, { slots: 1.5 }))),
      await told(collect(cloche.answersTo(["to", talk("be")]))),
      await told(collect(cloche.answersTo([talk("to be "), talk("to be ".repeat(20))]))),
    ];
    const fresh = await Cloche.create({ device: "cpu" });
    const running = fresh.grow({ ...grow, steps: 1000 });
    for await (const event of running) {
      if (event.event !== "step") continue;
      errors.push(await told(collect(fresh.answersTo(prompts))));
      break;
    }
    fresh.dispose();
    cloche.dispose();
    return { many, each, seeded, long, talks, talked, completed, buffers: [before.buffers, after.buffers], none, errors };
  }, GROW);
  const texts = (/** @type {any[]} */ answers) => answers.map(({ text, finish }) => [text, finish]);
  assert.deepEqual(found.many.map((/** @type {any} */ { index }) => index), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual(texts(found.many), texts(found.each));
  for (const [at, { logProb }] of found.many.entries()) assert.ok(Math.abs(logProb - found.each[at].logProb) < 1e-3);
  // Who is computed beside a text is nothing to it.
  const [one, ...others] = found.seeded.map(texts);
  for (const other of others) assert.deepEqual(other, one);
  for (const { text, tokens, finish } of found.seeded[0]) {
    assert.ok(!text.includes("t"));
    assert.equal(finish, tokens.length < 30 || tokens.at(-1).text === "t" ? "stop" : "length");
  }
  assert.ok(new Set(found.seeded[0].map((/** @type {any} */ { tokens }) => tokens.length)).size > 1);
  // The context has 64 tokens, and a last one may be drawn behind it.
  assert.deepEqual(found.long.map((/** @type {any} */ { tokens, finish }) => [tokens.length, finish]), [[65 - "to be, or not".length, "length"], [65 - "to be".length, "length"]]);
  assert.deepEqual(texts(found.talks), texts(found.talked));
  assert.deepEqual(found.completed.choices.map((/** @type {any} */ { index }) => index), [0, 1, 2, 3]);
  assert.equal(found.completed.usage.prompt_tokens, "to be".length + "t".length);
  assert.equal(found.buffers[1], found.buffers[0], "who stops listening leaves nothing behind");
  assert.deepEqual(found.none, []);
  assert.deepEqual(found.errors, [
    "SETTINGS: slots: found 0, expected 1 up to 128",
    "SETTINGS: slots: found 1.5, expected a whole number",
    "SETTINGS: asked: found a conversation at 1, expected a text",
    found.errors[3],
    "BUSY: a run is going on: stop it before you start another",
  ]);
  assert.match(found.errors[3] ?? "", /^SETTINGS: messages: found \d+ tokens, expected fewer than 64, the model's context$/);
}
