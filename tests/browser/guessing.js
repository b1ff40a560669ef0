/** Faster answers: by rounded weights, and by guesses of a smaller model. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const GUESSING = [["a rounded copy answers alike, a draft changes no word, and both say what they cannot do", answer]];

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
