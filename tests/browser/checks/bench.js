/** Measures in a worker, where the product computes too, and sends each line as it comes. */
const engine = await import(/** @type {string} */ ("/wasm/engine.js"));
await engine.default();

const DEVICES = ["cpu", "webgpu"];
for (const device of DEVICES) {
  for (const n of [128, 512, 1024]) {
    const rate = await engine.benchMatmul(device, n);
    self.postMessage(`matmul ${n}³ on ${device}: ${rate.toFixed(1)} GFLOP/s`);
  }
  const steps = device === "cpu" ? 30 : 16;
  const ms = await engine.benchStep(device, "nano", steps);
  self.postMessage(`nano, training step on ${device}: ${ms.toFixed(0)} ms`);
}
self.postMessage("finished");
