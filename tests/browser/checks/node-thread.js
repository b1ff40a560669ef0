/** What `thread.js` is in a page, in Node. */
import { parentPort } from "node:worker_threads";

const { help } = await import(new URL("../../../target/wasm-checks/threads.js", import.meta.url).href);
parentPort?.once("message", (task) => help(task, () => parentPort?.postMessage("begun")));
