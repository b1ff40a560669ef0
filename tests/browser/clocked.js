/** How long a run keeps the graphics device from others, in Chromium on SwiftShader: scenes of `run.js teach`. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const CLOCKED = [["a training step that takes seconds keeps the device for some 50 ms at a time", takeTurns]];

/** Steps before the run knows how fast the device is. */
const WARM = 2;
/** What a submission takes, by its middle one. */
const MOST_MS = 60;
/** Dispatches of a step of nano, as few as they may become: where other programs slow the machine down, each goes by itself. */
const DISPATCHES = 60;

/** @param {Page} page */
async function takeTurns(page) {
  const { taken, seconds, steps } = await page.evaluate(async (warm) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "webgpu", workerUrl: "/checks/clocked.js" });
    const clock = new BroadcastChannel("clock");
    const answer = new Promise((resolve) => (clock.onmessage = ({ data }) => resolve(data)));
    let [began, steps] = [0, 0];
    for await (const event of cloche.grow({ data: "to be or not to be. ".repeat(100), preset: "nano", steps: warm + 4, evalEvery: 0, sampleAt: [] })) {
      if (event.event !== "step") continue;
      if (event.step === warm) {
        began = performance.now();
        clock.postMessage({});
      }
      if (event.step > warm) steps++;
    }
    const seconds = (performance.now() - began) / 1000;
    clock.postMessage({ ask: true });
    const taken = /** @type {number[]} */ (await answer);
    cloche.dispose();
    return { taken, seconds, steps };
  }, WARM);
  taken.sort((a, b) => a - b);
  const middle = taken[taken.length >> 1] ?? 0;
  assert.ok(taken.length > 5 * steps, `${taken.length} submissions for ${steps} steps that took ${seconds} s`);
  const apart = taken.length >= DISPATCHES * steps;
  assert.ok(apart || middle <= MOST_MS, `half of ${taken.length} submissions for ${steps} steps took more than ${middle} ms`);
  const at = (/** @type {number} */ share) => Math.round(taken[Math.floor(share * (taken.length - 1))] ?? 0);
  return `${steps} steps, ${seconds.toFixed(1)} s: ${taken.length} submissions of ${at(0.5)} ms, at most ${at(1)} ms, nine of ten below ${at(0.9)}`;
}
