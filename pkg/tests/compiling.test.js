/** Kernels that compile side by side, with a graphics device that is made up. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { compiling } from "../dist/compiling.js";

/** What the device was asked for, and by which pipelines work was done. */
let log = [];
/** How the kernels that compile are told that they are done. */
let pending = new Map();

class GPUDevice {
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
  const preparation = compiling(build, signal);
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

test("a kernel that fails, or is needed before it is done, is made when it is used", async () => {
  const { preparation, first } = await asked(signal);
  pending.get("a").reject(new Error("GPUPipelineError"));
  await first;
  const last = preparation.next();
  pending.get("b").resolve();
  await last;
  const { value: run } = await preparation.next();
  for (const kernel of [...run.kernels, run.kernels[0]]) pass.setPipeline(kernel);
  assert.deepEqual(log.slice(2), ["now a", "use a", "use b", "use a"]);

  let early;
  const hasty = compiling(async () => {
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
  assert.deepEqual(log.slice(-4), ["soon c", "now c", "use c", "use c"]);
});

test("whoever leaves, or stops, leaves no run behind", async () => {
  const left = await asked(signal);
  pending.get("a").resolve();
  await left.first;
  await left.preparation.return();
  assert.equal(log.at(-1), "free");

  log = [];
  const stop = new AbortController();
  const stopped = await asked(stop.signal);
  stop.abort();
  pending.get("a").resolve();
  await assert.rejects(stopped.first, { name: "AbortError" });
  assert.equal(log.at(-1), "free");
});

test("what is made at other times is made at once, also when building has failed", async () => {
  const failing = compiling(async () => Promise.reject(new Error("no memory")), signal);
  await failing.next();
  await assert.rejects(failing.next(), { message: "no memory" });
  pass.setPipeline(device.createComputePipeline({ label: "d" }));
  assert.deepEqual(log, ["now d", "use d"]);
});
