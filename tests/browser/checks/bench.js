/** Measures in a worker, where the product computes too, and sends each line as it comes. */
const engine = await import(/** @type {string} */ ("/wasm/engine.js"));
const { fuse } = await import(/** @type {string} */ ("/wasm/gemm.js"));
const { memory } = await engine.default();

/** The CPU by the engine's own products, then by those of the module `gemm`, which stays; then WebGPU. */
const DEVICES = ["cpu", "fused", "webgpu"];
const asked = location.search.slice(1);
for (const name of DEVICES.filter((name) => !asked || asked.split(",").includes(name))) {
  if (name === "fused" && !(await fuse(engine, memory))) throw new Error("no relaxed SIMD");
  const device = name === "fused" ? "cpu" : name;
  for (const n of [128, 512, 1024]) {
    const rate = await engine.benchMatmul(device, n);
    self.postMessage(`matmul ${n}³ on ${name}: ${rate.toFixed(1)} GFLOP/s`);
  }
  const steps = device === "cpu" ? 30 : 16;
  const ms = await engine.benchStep(device, "nano", steps);
  self.postMessage(`nano, training step on ${name}: ${ms.toFixed(0)} ms`);
}
self.postMessage("finished");
