/**
 * The checks that every stack runs. The same few lines run them in a browser's worker and in Node; what most of
 * them do is written in Rust, beside what it checks, and named by the engine's `selfTests()`; the others hold the face that
 * JavaScript sees.
 */
import { probe } from "./probe.js";
import { STAGE_CHECKS } from "./stages.js";

/**
 * @typedef {object} Outcome
 * @property {string} name
 * @property {string} [error] what went wrong; absent where the check held
 * @property {string} [note] what it found out, such as the adapter's name
 * @property {number} ms
 */

/**
 * @param {() => Promise<any>} load imports the engine's module
 * @param {unknown} wasm its bytes, or nothing where it can fetch them itself
 * @param {string} only run only checks whose name contains this
 * @returns {AsyncGenerator<Outcome>}
 */
export async function* runChecks(load, wasm, only) {
  /** @type {[string, () => Promise<string | undefined>][]} */
  const checks = [["webgpu", probe]];
  try {
    const engine = await load();
    await engine.default(wasm && { module_or_path: wasm });
    for (const name of engine.selfTests()) checks.push([name, () => engine.selfTest(name)]);
    for (const [name, check] of STAGE_CHECKS) checks.push([name, async () => (await check(engine)) ?? undefined]);
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
