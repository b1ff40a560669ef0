/**
 * Programs that `cargo xtask bench` times, where they are JavaScript: orders come line by line, and so do answers. What they
 * mean is written at `crates/models/examples/contestant`, which obeys the same ones natively.
 */
import { createInterface } from "node:readline";

/** @typedef {{ open: string } | { time: number, seconds: number }} Order */
/** @typedef {(order: Order | { ready: true }) => Promise<object>} Obey */
/**
 * What is needed of a page, whichever library drives its browser.
 * @typedef {object} Page
 * @property {(event: "pageerror", heard: (error: unknown) => void) => unknown} on
 * @property {(script: (given: any) => any, given: any) => Promise<any>} evaluate
 */

/** Obeys what comes on standard input until there is no more. @param {Obey} obey */
export async function takeOrders(obey) {
  const answer = async (/** @type {Parameters<Obey>[0]} */ order) => {
    const answered = await obey(order).catch((error) => ({ failed: String(error?.message ?? error) }));
    process.stdout.write(`${JSON.stringify(answered)}\n`);
  };
  await answer({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) await answer(JSON.parse(line));
}

/**
 * Lets a worker obey: it gets each order as a message and answers with one.
 * @param {Page} page of the worker's origin
 * @param {string} url the worker's module
 * @returns {Promise<Obey>}
 */
export async function inWorker(page, url) {
  page.on("pageerror", (error) => process.stderr.write(`${error}\n`));
  await page.evaluate(async (url) => {
    const worker = new Worker(url, { type: "module" });
    const { help } = await import(/** @type {string} */ ("/checks/help.js"));
    worker.addEventListener("message", ({ data }) => "task" in data && help(data));
    Object.assign(globalThis, {
      obey: (/** @type {object} */ order) =>
        new Promise((resolve, reject) => {
          worker.onmessage = ({ data }) => "task" in data || resolve(data);
          worker.onerror = (event) => reject(new Error(event.message ?? `${url} cannot be loaded`));
          worker.postMessage(order);
        }),
    });
  }, url);
  return (order) => page.evaluate((order) => /** @type {any} */ (globalThis).obey(order), order);
}
