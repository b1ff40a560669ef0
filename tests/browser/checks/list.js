/**
 * The checks that every stack runs. The same few lines run them in a browser's worker and in Node; what most of
 * them do is written in Rust, beside what it checks, and named by the engine's `selfTests()`; the others hold the face that
 * JavaScript sees.
 */
import { compileAll, probe } from "./probe.js";
import { STAGE_CHECKS } from "./stages.js";

/**
 * @typedef {object} Outcome
 * @property {string} name
 * @property {string} [error] what went wrong; absent where the check held
 * @property {string} [note] what it found out, such as the adapter's name
 * @property {number} ms
 */

/**
 * @param {(file: string) => Promise<any>} load imports one of the built files, such as `engine.js`
 * @param {Uint8Array | undefined} wasm the engine's bytes, or nothing where it can fetch them itself
 * @param {(task: object) => Promise<unknown>} start has a new thread do a task; resolves when it begins
 * @param {boolean} relaxed whether this stack must have relaxed SIMD
 * @param {string} only run only checks whose name contains this
 * @returns {AsyncGenerator<Outcome>}
 */
export async function* runChecks(load, wasm, start, relaxed, only) {
  /** @type {[string, () => Promise<string | undefined>][]} */
  const checks = [["webgpu", probe]];
  try {
    const engine = await load("engine.js");
    const { Threads } = await load("threads.js");
    const threads = new Threads();
    const opening = (/** @type {any} */ source) => threads.open(source);
    const exports = await engine.default({ module_or_path: wasm, opening });
    /** @type {string[]} */
    const names = engine.selfTests();
    for (const name of names) checks.push([name, () => engine.selfTest(name)]);
    checks.push(["webgpu: every shader compiles", () => compileAll(engine.shaderTexts())]);
    for (const [name, check] of STAGE_CHECKS) checks.push([name, async () => (await check(engine)) ?? undefined]);
    // What multiplies matrices on the CPU, also of codes, once more by the module `gemm`: after the others, because it stays.
    const { fuse } = await load("gemm.js");
    /** @type {Promise<object | undefined> | undefined} */
    let fused;
    for (const name of names.filter((name) => PRODUCTS.includes(name))) {
      checks.push([
        `${name}, fused`,
        async () => {
          const found = await (fused ??= fuse(engine, exports.memory));
          if (!!found !== relaxed) throw new Error(`fused: ${!relaxed}`);
          const note = await engine.selfTest(name);
          return relaxed ? note : `no relaxed SIMD here, so by the engine's own products: ${note}`;
        },
      ]);
    }
    // All that the CPU computes, once more by three threads: the last checks, because they stay.
    /** @type {Promise<void> | undefined} */
    let employed;
    const employ = async () => {
      const gemm = await (fused ??= fuse(engine, exports.memory));
      await threads.employ(engine, exports, gemm, 3, start);
      if (engine.threads() !== 3) throw new Error(`${engine.threads()} threads were started, expected 3`);
    };
    for (const name of names.filter((name) => name.startsWith("cpu:"))) {
      checks.push([`${name}, by three threads`, async () => (await (employed ??= employ()), engine.selfTest(name))]);
    }
  } catch (error) {
    checks.push(["engine loads", () => Promise.reject(error)]);
  }
  for (const [name, check] of checks) {
    if (!name.includes(only)) continue;
    const started = performance.now();
    const outcome = await check().then(
      (note) => ({ note }),
      (error) => ({ error: String(error?.message ?? error) }),
    );
    yield { name, ms: performance.now() - started, ...outcome };
  }
}

/** Checks in which the CPU multiplies matrices. */
const PRODUCTS = [
  "cpu: matmul",
  "cpu: attention",
  "cpu: quantized_matmul",
  "cpu: unusual numbers times codes",
  "cpu: the reference run",
];
