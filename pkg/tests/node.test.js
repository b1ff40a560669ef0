/** The entry for Node: a model grows in a thread, speaks, is carried on, and ends with it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cloche, ClocheError } from "../dist/node.js";

const GROW = { data: "to be or not to be, that is the question. ".repeat(60), steps: 6, contextLen: 32, batchSize: 2 };

/** @param {AsyncIterable<any>} run */
async function losses(run) {
  const found = [];
  for await (const event of run) if (event.event === "step") found.push(event.loss);
  return found;
}

test("threads share the work of the CPU, and learn what one does", { timeout: 120_000 }, async () => {
  const learnt = [];
  for (const threads of [1, 3]) {
    const cloche = await Cloche.create({ device: "cpu", threads });
    assert.equal(cloche.device.threads, threads);
    learnt.push(await losses(cloche.grow({ ...GROW, preset: "nano" })));
    cloche.dispose();
  }
  assert.equal(learnt[0]?.length, 6);
  assert.deepEqual(learnt[1], learnt[0]);
});

for (const device of /** @type {const} */ (["cpu", "webgpu"])) {
  test(`a model grows in a thread, on ${device}`, { timeout: 120_000 }, async () => {
    const cloche = await Cloche.create({ device });
    try {
      assert.equal(cloche.device.kind, device);
      const run = cloche.grow(GROW);
      const whole = await losses(run);
      assert.equal(whole.length, 6);
      assert.ok(whole[5] < whole[0]);
      let text = "";
      for await (const piece of cloche.generate("to be", { maxTokens: 5 })) text += piece;
      assert.equal(text.length, 5);
      assert.equal((await losses(cloche.grow({ data: GROW.data, resume: await run.checkpoint(), steps: 8 }))).length, 2);
      const told = (/** @type {Promise<unknown>} */ outcome) => outcome.then(() => "none", (error) => error.code);
      assert.equal(await told(cloche.runs.list()), "NO_STORAGE");
    } finally {
      cloche.dispose();
    }
    await assert.rejects(losses(cloche.grow(GROW)), (error) => error instanceof ClocheError && error.code === "DISPOSED");
  });
}
