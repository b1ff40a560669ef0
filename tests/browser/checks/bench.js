/** A worker that `cargo xtask bench` gives orders; its address says which device, and what it is called. */
import { contestant, obeyMessages } from "./contestant.js";

async function enter() {
  const module = await import(/** @type {string} */ ("/wasm/engine.js"));
  const { fuse } = await import(/** @type {string} */ ("/wasm/gemm.js"));
  const { memory } = await module.default();
  const asked = new URLSearchParams(location.search);
  const [which, name, device] = ["which", "name", "device"].map((key) => asked.get(key) ?? undefined);
  return contestant({ module, memory, fuse }, which ?? "cpu", name ?? "wasm", device);
}

// At once, or the first order would come while nobody listens.
obeyMessages(enter());
