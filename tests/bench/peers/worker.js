/** A peer in a worker, obeying as `crates/models/examples/contestant` says. Its address says which peer, and on what. */
import { obeyMessages } from "../../browser/checks/contestant.js";
import { exported } from "./weights.js";

const STEP = "training step of nano by Adam";
const PRODUCT = "product 512×512×512";
const SAMPLE_MS = 5;

const asked = Object.fromEntries(new URLSearchParams(location.search));
const threads = Number(asked.threads);
// What a page finds that is not isolated: a browser without threads.
if (threads === 1) Reflect.deleteProperty(globalThis, "SharedArrayBuffer");

async function enter() {
  // After the line above: both look at what there is when they are loaded.
  const { open } = asked.peer === "jax" ? await import("./jax.js") : await import("./tensorflow.js");
  const library = await open(asked.device, threads);
  const from = await exported("/exported/");
  let work;
  return async (order) => {
    if (order.ready) return { ready: { adapter: null, cases: [PRODUCT, STEP] } };
    if (order.time !== undefined) return { seconds: await samples(work, order.seconds) };
    work = order.open === STEP ? await library.training(from) : library.product(512);
    const losses = [];
    for (let i = 0; work.last && i < from.batches.length; i++) {
      work.run();
      losses.push(await work.last());
    }
    const told = work.last ? { losses } : { flops: 2 * 512 ** 3 };
    return { systems: [{ name: asked.name, device: asked.where, ours: false, limit: "arithmetic", ...told }] };
  };
}

/** Seconds of one run, each the mean of as many as take 5 ms. */
async function samples({ run, settled }, seconds) {
  const [found, began] = [[], performance.now()];
  for (let runs = 1; found.length === 0 || performance.now() - began < 1e3 * seconds; ) {
    const start = performance.now();
    for (let i = 0; i < runs; i++) run();
    await settled();
    const took = performance.now() - start;
    if (took < SAMPLE_MS) runs *= 2;
    else found.push(took / runs / 1e3);
  }
  return found;
}

obeyMessages(enter());
