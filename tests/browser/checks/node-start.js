/** What `start.js` is in a page, in Node. */
import { Worker } from "node:worker_threads";

/** Has a new thread do a task; resolves when it begins. @param {object} task */
export const start = (task) =>
  new Promise((resolve, reject) => {
    const thread = new Worker(new URL("node-thread.js", import.meta.url));
    thread.once("message", resolve).once("error", reject);
    thread.postMessage(task);
  });
