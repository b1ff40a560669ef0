/** Completions in OpenAI's shape, over answers that are known. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ChatCompletions, TextCompletions } from "../dist/completions.js";
import { Held } from "../dist/stops.js";

const asked = [];

/** Says `ab` and `c`, whatever it is asked, as often as it is asked: all begin before one ends. */
async function* draw(prompt, sampling, signal) {
  asked.push({ prompt, sampling, signal });
  const all = [...Array(Array.isArray(prompt) && typeof prompt[0] === "string" ? prompt.length : (sampling.n ?? 1)).keys()];
  for (const index of all) yield { index, text: "ab", tokens: [{ id: 1, text: "a", logProb: -0.5 }, { id: 2, text: "b", logProb: -1 }] };
  for (const index of all) yield { index, text: "c", tokens: [{ id: 3, text: "c", logProb: -2 }], finish: "length", promptTokens: 5 };
}

const messages = [{ role: "user", content: "Who?" }];

test("a whole answer has its usage, its end and, where asked for, its log-probabilities", async () => {
  const answer = await new ChatCompletions(draw).create({ messages, logprobs: true, n: 2, seed: 7, max_tokens: 3, stop: "." });
  assert.equal(answer.object, "chat.completion");
  assert.deepEqual(answer.choices.map((choice) => choice.message.content), ["abc", "abc"]);
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.deepEqual(answer.choices[1].logprobs.content.map((log) => log.logprob), [-0.5, -1, -2]);
  assert.deepEqual(answer.usage, { prompt_tokens: 5, completion_tokens: 6, total_tokens: 11 });
  assert.deepEqual(asked.map(({ sampling }) => sampling), [{ maxTokens: 3, seed: 7, stop: ["."], n: 2 }]);
  const plain = await new ChatCompletions(draw).create({ messages });
  assert.equal(plain.choices[0].logprobs, null);
});

test("a stream begins with the role, ends with why, and counts with the last chunk", async () => {
  const chunks = [];
  for await (const chunk of await new ChatCompletions(draw).create({ messages, stream: true })) chunks.push(chunk);
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0].delta), [{ role: "assistant", content: "ab" }, { content: "c" }]);
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0].finish_reason), [null, "length"]);
  assert.deepEqual(chunks.map((chunk) => chunk.usage?.total_tokens), [undefined, 8]);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
});

test("what was said before a stream failed is not lost", async () => {
  async function* breaking(...asked) {
    for await (const piece of draw(...asked)) {
      yield piece;
      throw new Error("the device was lost");
    }
  }
  const said = [];
  await assert.rejects(async () => {
    for await (const { choices: [{ text }] } of await new TextCompletions(breaking).create({ prompt: "x", stream: true })) said.push(text);
  }, { message: "the device was lost" });
  assert.deepEqual(said, ["ab"]);
});

test("in a stream of two answers each begins with the role and ends with why", async () => {
  const said = [[], []];
  for await (const { choices: [{ index, delta, finish_reason }] } of await new ChatCompletions(draw).create({ messages, n: 2, stream: true })) said[index].push([delta, finish_reason]);
  for (const one of said) assert.deepEqual(one, [[{ role: "assistant", content: "ab" }, null], [{ content: "c" }, "length"]]);
});

test("texts are continued in the same way", async () => {
  const whole = await new TextCompletions(draw).create({ prompt: "x", logprobs: 0, model: "mine" });
  assert.equal(whole.model, "mine");
  assert.equal(whole.choices[0].text, "abc");
  assert.deepEqual(whole.choices[0].logprobs, { tokens: ["a", "b", "c"], token_logprobs: [-0.5, -1, -2] });
  const texts = [];
  for await (const chunk of await new TextCompletions(draw).create({ prompt: "x", stream: true })) texts.push(chunk.choices[0].text);
  assert.deepEqual(texts, ["ab", "c"]);
});

test("of several texts each has its choices, in their order", async () => {
  const asking = { prompt: ["x", "y"], n: 2, seed: 3 };
  const { choices, usage } = await new TextCompletions(draw).create(asking);
  assert.deepEqual(asked.at(-1).prompt, ["x", "x", "y", "y"]);
  assert.deepEqual(asked.at(-1).sampling, { seed: 3 });
  assert.deepEqual(choices.map(({ index }) => index), [0, 1, 2, 3]);
  assert.deepEqual(usage, { prompt_tokens: 10, completion_tokens: 12, total_tokens: 22 });
  const totals = [];
  for await (const chunk of await new TextCompletions(draw).create({ ...asking, stream: true })) totals.push(chunk.usage?.total_tokens);
  assert.equal(totals.at(-1), 22);
  await assert.rejects(new TextCompletions(draw).create({ ...asking, n: 1.5 }), { code: "SETTINGS", message: /^n: found 1.5/ });
});

test("what is missing is named", async () => {
  await assert.rejects(new ChatCompletions(draw).create({}), { code: "SETTINGS", message: /^messages: found none/ });
  await assert.rejects(new TextCompletions(draw).create({}), { code: "SETTINGS", message: /^prompt: found none/ });
});

test("a stop string ends a text, also where it comes in pieces", () => {
  const held = new Held(["END", "."]);
  assert.deepEqual(["one E", "N", "Dtwo"].map((piece) => held.push(piece)), ["one", " ", ""]);
  assert.ok(held.ended);
  assert.equal(held.rest(), "");
  const open = new Held(["END"]);
  assert.equal(open.push("an E") + open.rest(), "an E");
});
