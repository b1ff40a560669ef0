/** Kernels compile side by side; they are measured where a page asks for it, and what was found is kept. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const KERNELS = [
  ["kernels compile side by side, once, and it is told how many are done", compile],
  ["kernels are measured, are right, and are known on the next visit", measure],
];

const SIZE = { contextLen: 32, batchSize: 2, data: "to be or not to be, that is the question. ".repeat(60) };

/** @param {Page} page */
async function compile(page) {
  const runs = await page.evaluate(async (size) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "webgpu" });
    const run = async () => {
      /** @type {{ done: number, total?: number }[]} */
      const compiled = [];
      /** @type {number[]} */
      const losses = [];
      for await (const event of cloche.grow({ ...size, steps: 2, evalEvery: 0 })) {
        if (event.phase === "compiling") compiled.push({ done: event.done, total: event.total });
        if (event.event === "step") losses.push(event.loss);
      }
      return { compiled, losses };
    };
    const runs = [await run(), await run()];
    cloche.dispose();
    return runs;
  }, SIZE);
  const [first, second] = /** @type {[typeof runs[0], typeof runs[0]]} */ (runs);
  const total = first.compiled.length - 1;
  assert.ok(total > 20, `${total} kernels`);
  assert.deepEqual(first.compiled.map(({ done }) => done), [...Array(total + 1).keys()]);
  assert.ok(first.compiled.slice(1).every((each) => each.total === total));
  assert.equal(second.compiled.length, 1, "they are known the second time");
  assert.deepEqual(second.losses, first.losses);
  return `${total} kernels`;
}

/** @param {Page} page */
async function measure(page) {
  const found = await page.evaluate(async (size) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const losses = async (/** @type {any} */ cloche) => {
      const all = [];
      for await (const event of cloche.grow({ ...size, steps: 3, evalEvery: 0 })) if (event.event === "step") all.push(event.loss);
      return all;
    };
    const refused = (/** @type {Promise<unknown>} */ asked) => asked.then(() => "nothing", (/** @type {any} */ error) => error.code);
    const cloche = await Cloche.create({ device: "webgpu" });
    const usual = await losses(cloche);
    const running = cloche.grow({ ...size, steps: 1000, evalEvery: 0 });
    await running[Symbol.asyncIterator]().next();
    const busy = await refused(cloche.tuneKernels(size));
    await running.stop();
    for await (const _ of running);
    /** @type {[number, number][]} */
    const progress = [];
    const told = await cloche.tuneKernels({ ...size, onProgress: (/** @type {any} */ { done, total }) => progress.push([done, total]) });
    const tuned = await losses(cloche);
    const stop = new AbortController();
    const aborted = await refused(cloche.tuneKernels({ ...size, signal: stop.signal, onProgress: () => stop.abort() }));
    cloche.dispose();
    const next = await Cloche.create({ device: "webgpu" });
    const later = await losses(next);
    next.dispose();
    const cpu = await Cloche.create({ device: "cpu" });
    const onCpu = await cpu.tuneKernels(size);
    cpu.dispose();
    const kept = await (await (await (await navigator.storage.getDirectory()).getFileHandle("cloche-kernels.json")).getFile()).text();
    return { usual, aborted, busy, progress, told, tuned, later, onCpu, kept };
  }, SIZE);
  const { told, progress } = found;
  assert.deepEqual([found.aborted, found.busy], ["ABORTED", "BUSY"]);
  assert.ok(told.pieces > 5 && told.gain >= 1 && told.faster <= told.pieces, JSON.stringify(told));
  assert.deepEqual(told.warnings, [], "every kernel is right here");
  assert.deepEqual(progress.at(-1), [told.pieces, told.pieces]);
  found.usual.forEach((loss, step) => assert.ok(Math.abs(loss - found.tuned[step]) < 1e-4 * loss, `${found.usual} and ${found.tuned}`));
  assert.deepEqual(found.later, found.tuned, "the same kernels add in the same order");
  assert.deepEqual(found.onCpu, { pieces: 0, faster: 0, gain: 1, warnings: [] });
  assert.match(Object.keys(JSON.parse(found.kept))[0] ?? "", /^\d+\.\d+\.\d+ webgpu .*SwiftShader|swiftshader/);
  return `${told.pieces} pieces of work, ${told.faster} by another kernel`;
}
