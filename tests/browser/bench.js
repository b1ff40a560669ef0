/**
 * Speed in headless Chromium: `cargo xtask bench web` builds the modules and runs this, on the devices named on the
 * command line, on all of them where none is named:
 *
 *     node tests/browser/bench.js [cpu] [fused] [webgpu]
 */
import { fileURLToPath } from "node:url";
import { serveFolders } from "./server.js";
import { launchChromium } from "./stacks.js";

/** @param {string} folder */
const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
const server = await serveFolders({ "/checks/": at("checks"), "/wasm/": at("../../target/wasm-checks") });
const browser = await launchChromium();
const page = await browser.newPage();
/** @type {() => void} */
let finish = () => {};
const finished = new Promise((resolve) => (finish = () => resolve(undefined)));
// Before the page is loaded: a page that came first would have nobody to report to.
await page.exposeFunction("report", (/** @type {string} */ line) => (line === "finished" ? finish() : console.log(line)));
await page.goto(`${server.origin}/checks/?only=nothing`);
await page.evaluate((devices) => {
  const worker = new Worker(`bench.js?${devices}`, { type: "module" });
  const report = /** @type {any} */ (globalThis).report;
  worker.onmessage = ({ data }) => report(data);
  worker.onerror = (event) => report(`FAILED: ${event.message}`).then(() => report("finished"));
}, process.argv.slice(2).join());
await finished;
await browser.close();
server.close();
