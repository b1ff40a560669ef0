/** Kernels that compile side by side, with a graphics device that is made up. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { compiled, compiling } from "../dist/compiling.js";

/** What the device was asked for, and by which pipelines work was done. */
let log = [];
/** How the kernels that compile are told that they are done. */
let pending = new Map();

class GPUDevice {
  lost = new Promise((resolve) => (this.lose = resolve));
  createComputePipeline({ label }) {
    log.push(`now ${label}`);
    return label;
  }
  createComputePipelineAsync({ label }) {
    log.push(`soon ${label}`);
    return new Promise((resolve, reject) => pending.set(label, { resolve: () => resolve(label), reject }));
  }
}
class GPUComputePassEncoder {
  setPipeline(pipeline) {
    log.push(`use ${pipeline}`);
  }
}
Object.assign(globalThis, { GPUDevice, GPUComputePassEncoder });

const [device, pass, signal] = [new GPUDevice(), new GPUComputePassEncoder(), new AbortController().signal];
/** Where nobody else wants the engine. */
const turns = { take: async (work) => work() };
/** A run with two kernels. */
const build = async () => ({
  kernels: ["a", "b"].map((label) => device.createComputePipeline({ label })),
  free: () => log.push("free"),
});
const report = { event: "prepare", phase: "compiling" };

beforeEach(() => {
  log = [];
  pending = new Map();
});

/** A run whose kernels have been asked for, none of them done: its report is awaited. */
async function asked(signal) {
  const preparation = compiling(turns, build, signal);
  assert.deepEqual(await preparation.next(), { value: { ...report, done: 0 }, done: false });
  const first = preparation.next();
  await new Promise(setImmediate);
  return { preparation, first };
}

test("all kernels are asked for before one is awaited, and are used when all are done", async () => {
  const { preparation, first } = await asked(signal);
  assert.deepEqual(log, ["soon a", "soon b"]);
  pending.get("b").resolve();
  pending.get("a").resolve();
  assert.deepEqual((await first).value, { ...report, done: 1, total: 2 });
  assert.deepEqual((await preparation.next()).value, { ...report, done: 2, total: 2 });
  const { value: run, done } = await preparation.next();
  assert.ok(done);
  for (const kernel of run.kernels) pass.setPipeline(kernel);
  assert.deepEqual(log.slice(2), ["use a", "use b"]);
});

test("a kernel that is needed before it is done is made when it is used", async () => {
  let early;
  const hasty = compiling(turns, async () => {
    early = device.createComputePipeline({ label: "c" });
    pass.setPipeline(early);
    return { free() {} };
  }, signal);
  await hasty.next();
  const report = hasty.next();
  await new Promise(setImmediate);
  pending.get("c").resolve();
  await report;
  pass.setPipeline(early);
  assert.deepEqual(log, ["soon c", "now c", "use c", "use c"]);
});

test("a kernel that does not compile ends the run, and is named", async () => {
  const { preparation, first } = await asked(signal);
  pending.get("a").resolve();
  await first;
  pending.get("b").reject(new Error("too many registers"));
  await assert.rejects(preparation.next(), { code: "ENGINE_CRASHED", message: 'kernel "b": too many registers' });
  assert.equal(log.at(-1), "free");
});

test("kernels of a device that is lost are not waited for: the run is what hears of it", async () => {
  const gone = new GPUDevice();
  const build = async () => ({ kernels: ["e", "f"].map((label) => gone.createComputePipeline({ label })), free() {} });
  const preparation = compiling(turns, build, signal);
  await preparation.next();
  const first = preparation.next();
  await new Promise(setImmediate);
  pending.get("e").reject(new Error("no device"));
  gone.lose();
  assert.equal((await first).value.done, 1);
  assert.equal((await preparation.next()).value.done, 2);
  assert.ok((await preparation.next()).done);
});

test("whoever leaves, or stops, leaves no run behind", async () => {
  const left = await asked(signal);
  pending.get("a").resolve();
  await left.first;
  await left.preparation.return();
  assert.equal(log.at(-1), "free");
  pending.get("b").resolve();
  await new Promise(setImmediate);

  // What is still compiled is waited for by the next run, too; one that is stopped waits for nothing.
  log = [];
  const stop = new AbortController();
  const stopped = await asked(stop.signal);
  stop.abort();
  await assert.rejects(stopped.first, { name: "AbortError" });
  assert.equal(log.at(-1), "free");
  const again = compiling(turns, async () => ({ free() {} }), signal);
  await again.next();
  const report = again.next();
  for (const { resolve } of pending.values()) resolve();
  assert.ok((await report).value.total >= 2);
  await again.return();
});

test("what is made at other times is made at once, also when building has failed", async () => {
  const failing = compiling(turns, async () => Promise.reject(new Error("no memory")), signal);
  await failing.next();
  await assert.rejects(failing.next(), { message: "no memory" });
  pass.setPipeline(device.createComputePipeline({ label: "d" }));
  assert.deepEqual(log, ["now d", "use d"]);
});

test("nothing is collected for a run that waits for its turn, and whoever wants no reports gets the run alone", async () => {
  let begin;
  const busy = { take: (work) => new Promise((resolve) => (begin = resolve)).then(work) };
  const answer = compiled(busy, build, signal);
  await new Promise(setImmediate);
  pass.setPipeline(device.createComputePipeline({ label: "another's" }));
  assert.deepEqual(log, ["now another's", "use another's"]);
  begin();
  await new Promise(setImmediate);
  assert.deepEqual(log.slice(2), ["soon a", "soon b"]);
  for (const { resolve } of pending.values()) resolve();
  pass.setPipeline((await answer).kernels[0]);
  assert.equal(log.at(-1), "use a");
});
