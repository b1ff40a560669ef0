/** Cloche as a contestant of `cargo xtask bench`, in a worker or in Node. */

/** @typedef {import("../contest.js").Obey} Obey */
/** @typedef {{ name: string, device?: string, threads: number, start: (task: object) => Promise<unknown> }} Where what it is called, its threads and how one is started */

/**
 * Loads an engine, and obeys by it.
 * @param {(file: string) => Promise<any>} load imports one of the built files, such as `engine.js`
 * @param {Uint8Array | undefined} wasm the engine's bytes, or nothing where it can fetch them itself
 * @param {string} which `plain`, products as any browser has them; `cpu`, with relaxed SIMD; `webgpu`
 * @param {Where} where
 * @returns {Promise<Obey>}
 */
export async function contestant(load, wasm, which, { name, device = name, threads, start }) {
  const module = await load("engine.js");
  const { fuse } = await load("gemm.js");
  const shared = threads > 1 ? new (await load("threads.js")).Threads() : undefined;
  const opening = shared && ((/** @type {any} */ source) => shared.open(source));
  const exports = await module.default({ module_or_path: wasm, opening });
  const gemm = which === "cpu" ? await fuse(module, exports.memory) : undefined;
  if (which === "cpu" && !gemm) throw new Error(`${name} has no relaxed SIMD`);
  await shared?.employ(module, exports, gemm, threads, start);
  if (module.threads() !== threads) throw new Error(`${name} has ${module.threads()} threads`);
  const entry = await module.Contestant.create(which === "webgpu" ? "webgpu" : "cpu", name);
  return async (order) => {
    if ("ready" in order) return { ready: JSON.parse(entry.ready()) };
    if ("time" in order) return { seconds: Array.from(await entry.time(order.time, order.seconds)) };
    const systems = JSON.parse(await entry.prepare(order.open));
    return { systems: systems.map((/** @type {object} */ system) => ({ ...system, device })) };
  };
}

/** Obeys messages, for a worker. @param {Promise<Obey>} entering */
export function obeyMessages(entering) {
  self.onmessage = async ({ data }) => {
    const answer = entering.then((obey) => obey(data));
    self.postMessage(await answer.catch((error) => ({ failed: String(error?.message ?? error) })));
  };
}
