/** Threads, in a page that is cross-origin isolated. */
import assert from "node:assert/strict";

/** @typedef {import("playwright-core").Page} Page */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const THREADS = [
  ["threads share the work of the CPU, and learn what one does", shareWork],
  ["what is asked for is a number of threads", refuseThreads],
];

const TEXT = "to be or not to be, that is the question. ".repeat(60);

/** @param {Page} page */
async function shareWork(page) {
  const found = await page.evaluate(async (data) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const { collect } = await import(/** @type {string} */ ("/checks/collect.js"));
    const runs = [];
    for (const threads of [1, undefined, 5]) {
      const cloche = await Cloche.create({ device: "cpu", threads });
      const grown = await collect(cloche.grow({ data, preset: "nano", batchSize: 4, steps: 12, evalEvery: 6 }));
      const taught = await collect(cloche.sft({ init: "tiny", data: "task:addition", examples: 40, exam: 4, steps: 3, batchSize: 4 }));
      const events = [...grown, ...taught];
      const learnt = events.map(({ loss, val_loss: examined, text }) => [loss, examined, text]);
      const seconds = grown.at(-1).seconds;
      runs.push({ threads: cloche.device.threads, learnt: JSON.stringify(learnt), seconds });
      cloche.dispose();
    }
    return { runs, processors: navigator.hardwareConcurrency };
  }, TEXT);
  const [one, all, five] = found.runs;
  assert.ok(one && all && five);
  assert.deepEqual([one.threads, all.threads, five.threads], [1, Math.min(found.processors, 8), 5]);
  assert.ok(one.learnt.length > 300, "the runs have told something");
  assert.equal(all.learnt, one.learnt, "as many threads as processors learn something else than one");
  assert.equal(five.learnt, one.learnt, "five threads learn something else than one");
  return `${found.runs.map(({ threads, seconds }) => `${threads}: ${seconds.toFixed(2)} s`).join(", ")}`;
}

/** @param {Page} page */
async function refuseThreads(page) {
  const said = await page.evaluate(async () => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    return Cloche.create({ device: "cpu", threads: 0 }).catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
  });
  assert.equal(said, "SETTINGS: threads: found 0, expected a whole number from 1 to 64");
}
