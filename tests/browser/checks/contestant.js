/** Cloche as a contestant of `cargo xtask bench`, in a worker or in Node. */

/** @typedef {import("../contest.js").Obey} Obey */
/** @typedef {{ module: any, memory: WebAssembly.Memory, fuse: (engine: any, memory: WebAssembly.Memory) => Promise<boolean> }} Engine */

/**
 * Obeys by an engine that is loaded.
 * @param {Engine} engine
 * @param {string} which `plain`, products as any browser has them; `cpu`, with relaxed SIMD; `webgpu`
 * @param {string} name what rows call it
 * @param {string} [device] where it runs, if others run there too
 * @returns {Promise<Obey>}
 */
export async function contestant({ module, memory, fuse }, which, name, device = name) {
  if (which === "cpu" && !(await fuse(module, memory))) throw new Error(`${name} has no relaxed SIMD`);
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
