/**
 * Matrix products with fused multiply-add, for the engine's CPU device: half as fast again as those it brings along. The
 * module is a few kilobytes and lies in a string, so that there is nothing to fetch that a bundler could move or a
 * content-security policy forbid.
 */
import wasm from "./gemm_wasm.js";
import { bytesOf, share } from "./threads.js";

/**
 * Lets an engine compute its products by that module, in its own memory. Where WebAssembly has no relaxed SIMD, all
 * stays as it is.
 * @param {{ functionTable: () => WebAssembly.Table, useGemm: (index: number) => void }} engine its module
 * @param {WebAssembly.Memory} memory the engine's
 * @returns {Promise<import("./threads.js").Part | undefined>} what does it now
 */
export async function fuse(engine, memory) {
  const bytes = bytesOf(wasm);
  if (!WebAssembly.validate(bytes)) return undefined;
  if (!(memory.buffer instanceof ArrayBuffer)) share(bytes);
  try {
    const { instance, module } = await WebAssembly.instantiate(bytes, { env: { memory } });
    // As an entry of the engine's table it is called like any function of the engine, past JavaScript.
    const table = engine.functionTable();
    const index = table.grow(1);
    table.set(index, instance.exports.gemm);
    engine.useGemm(index);
    return { module, index };
  } catch {
    // Products are what they were; a page that cannot have faster ones shall not have none.
    return undefined;
  }
}
