/** What a page sees inside a model, and what it says token by token, also while it grows. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const LOOKING = [
  ["a page looks inside a model that grows, and one that was taught", look],
  ["completions have OpenAI's shape", complete],
  ["a step on a graphics device is timed, kernel by kernel", timeStep],
];

/** @param {Page} page */
async function look(page) {
  const found = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const all = { attention: { layer: 1, head: 1 }, nextTokens: 5, lens: true, weights: true, gradients: true, activations: true };
    const text = "to be or not";
    const probes = [];
    const data = "to be or not to be, that is the question. ".repeat(60);
    // A fast machine is some steps further when it answers, so there are many.
    for await (const event of cloche.grow({ data, steps: 150, contextLen: 32, batchSize: 8, lr: 3e-3, chatTokens: true })) {
      if (event.event === "step" && (event.step === 1 || event.step === 150)) probes.push(await cloche.probe(text, all));
    }
    const alone = [];
    for await (const { tokens } of cloche.generateTokens(text, { temperature: 0, maxTokens: 1 })) alone.push(...tokens);
    const errors = [];
    for (const [what, options] of [["", {}], ["to", { attention: { layer: 9, head: 0 } }], ["t", { gradients: true }]]) {
      errors.push(await cloche.probe(what, options).catch((/** @type {any} */ error) => `${error.code}: ${error.message}`));
    }
    // The larger module has the model from here on.
    for await (const _ of cloche.sft({ data: ["or", "is"].map((end) => ({ prompt: "to be", completion: ` ${end}` })), steps: 1, exam: 1, batchSize: 1 }));
    const taught = await cloche.probe(text.repeat(9));
    cloche.dispose();
    return { probes, alone, errors, taught };
  });
  const [early, late] = found.probes;
  for (const probe of [early, late]) {
    assert.equal(probe.tokens.join(""), "to be or not");
    assert.deepEqual([probe.layers, probe.heads, probe.lens.length, probe.next.length], [2, 4, 3, 5]);
    assert.deepEqual(probe.lens.at(-1), probe.next);
    const t = probe.tokens.length;
    const weights = /** @type {number[]} */ (Object.values(probe.attention));
    assert.equal(weights.length, t * t);
    for (let row = 0; row < t; row++) {
      const sum = weights.slice(row * t, (row + 1) * t).reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(sum - 1) < 1e-5, `row ${row} adds up to ${sum}`);
      assert.ok(weights.slice(row * t + row + 1, (row + 1) * t).every((weight) => weight === 0), `row ${row} looks ahead`);
    }
    assert.deepEqual(probe.activations.map((/** @type {any} */ spread) => spread.name), ["embedding", "h.0", "h.1", "hidden"]);
    assert.deepEqual(probe.gradients.map((/** @type {any} */ spread) => spread.name), probe.weights.map((/** @type {any} */ spread) => spread.name));
    assert.ok(probe.gradients.every((/** @type {any} */ spread) => spread.counts.length === 32 && spread.norm >= 0));
  }
  assert.ok(late.next[0].probability > early.next[0].probability, `it has become no surer: ${early.next[0].probability}, then ${late.next[0].probability}`);
  const [token] = found.alone;
  assert.equal(token.id, late.next[0].id);
  assert.ok(Math.abs(Math.exp(token.logProb) - late.next[0].probability) < 1e-4);
  assert.deepEqual(found.errors, [
    "SETTINGS: text: found nothing to read, expected at least one character",
    "SETTINGS: attention: found layer 9, head 0; there are 2 layers of 4 heads",
    "SETTINGS: text: found 1 token, expected 2 where gradients are asked for",
  ]);
  assert.deepEqual([found.taught.tokens.length, found.taught.next.length], [32, 10]);
}

/** @param {Page} page */
async function complete(page) {
  const found = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const data = "to be or not to be, that is the question. ".repeat(60);
    for await (const _ of cloche.grow({ data, steps: 2, contextLen: 32, batchSize: 2, chatTokens: true }));
    const asked = { prompt: "to be", seed: 3, max_tokens: 6, logprobs: true };
    const whole = await cloche.completions.create(asked);
    const streamed = [];
    for await (const chunk of await cloche.completions.create({ ...asked, stream: true })) streamed.push(chunk);
    const messages = [{ role: "user", content: "to be?" }];
    const answer = await cloche.chat.completions.create({ messages, seed: 3, max_tokens: 6, n: 2 });
    cloche.dispose();
    return { whole, streamed, answer };
  });
  const [choice] = found.whole.choices;
  assert.equal(choice.text, found.streamed.map((chunk) => chunk.choices[0].text).join(""));
  assert.equal(choice.logprobs.tokens.length, found.whole.usage.completion_tokens);
  assert.ok(choice.logprobs.token_logprobs.every((/** @type {number} */ logprob) => logprob < 0));
  assert.equal(found.whole.usage.prompt_tokens, 5);
  assert.equal(choice.finish_reason, choice.logprobs.tokens.length === 6 ? "length" : "stop");
  assert.deepEqual(found.streamed.at(-1).usage, found.whole.usage);
  assert.equal(found.answer.choices.length, 2);
  assert.ok(found.answer.choices.every((/** @type {any} */ said) => said.message.role === "assistant"));
}

/** Steps of a graphics device come in bursts: the time that was asked for must not be lost among them. @param {Page} page */
async function timeStep(page) {
  const { step, names, total } = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "webgpu" });
    const run = cloche.grow({ data: "to be or not to be. ".repeat(100), steps: 60, contextLen: 32, batchSize: 2, evalEvery: 0 });
    let profile = { step: 0, kernels: /** @type {{ name: string, seconds: number }[]} */ ([]) };
    for await (const event of run) {
      if (event.event === "step" && event.step === 3) await run.profile();
      if (event.event === "profile") profile = event;
    }
    cloche.dispose();
    const { step, kernels } = profile;
    return { step, names: kernels.map(({ name }) => name), total: kernels.reduce((sum, { seconds }) => sum + seconds, 0) };
  });
  assert.ok(step > 3, "a profile is told");
  for (const name of ["matmul", "matmul_grad", "attention", "attention_grad", "adamw"]) assert.ok(names.includes(name), `${name} in ${names}`);
  assert.ok(total > 0, `${total} s in kernels`);
  return `step ${step}`;
}
