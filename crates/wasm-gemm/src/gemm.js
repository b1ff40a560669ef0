/**
 * Products with fused multiply-add, and of bytes, for the engine's CPU device: half as fast again as those it brings along, up to
 * twice with codes, and several times of a few rows. The module is a few kilobytes and lies in a string, so that there is
 * nothing to fetch that a bundler could move or a content-security policy forbid.
 */
import wasm from "./gemm_wasm.js";
import { bytesOf, place, share } from "./threads.js";

/** What it exports, in the order in which the engine expects it in its table. */
const PRODUCTS = ["gemm", "digits", "multiply", "few"];

/**
 * Lets an engine compute its products by that module, in its own memory. Where WebAssembly has no relaxed SIMD, all
 * stays as it is.
 * @param {{ functionTable: () => WebAssembly.Table, useGemm: (first: number) => void }} engine its module
 * @param {WebAssembly.Memory} memory the engine's
 * @returns {Promise<import("./threads.js").Part | undefined>} what does it now
 */
export async function fuse(engine, memory) {
  const bytes = bytesOf(wasm);
  if (!WebAssembly.validate(bytes)) return undefined;
  if (!(memory.buffer instanceof ArrayBuffer)) share(bytes);
  try {
    const module = await WebAssembly.compile(bytes);
    // As entries of the engine's table they are called like any function of the engine, past JavaScript.
    const table = engine.functionTable();
    const part = { module, names: PRODUCTS, first: table.grow(PRODUCTS.length) };
    place(part, table, memory);
    engine.useGemm(part.first);
    return part;
  } catch {
    // Products are what they were; a page that cannot have faster ones shall not have none.
    return undefined;
  }
}
