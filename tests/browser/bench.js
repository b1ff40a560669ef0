/**
 * The engine's module as a contestant of `cargo xtask bench`, which builds it and runs this:
 *
 *     node tests/browser/bench.js node [all]
 *     node tests/browser/bench.js chromium|firefox plain|cpu|webgpu [all]
 *
 * `plain` computes products as any browser can, `cpu` with relaxed SIMD, `webgpu` on whatever adapter the browser has. With `all`
 * there are as many threads as processors, else one.
 */
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { contestant } from "./checks/contestant.js";
import { start } from "./checks/node-start.js";
import { inWorker, takeOrders } from "./contest.js";
import { ISOLATED, POLICY, serveFolders } from "./server.js";
import { launchChromium, launchFirefox } from "./stacks.js";

/** @param {string} folder */
const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
const WASM = new URL("../../target/wasm-checks/", import.meta.url);
/** @type {Record<string, string>} */
const NAMES = { plain: "wasm without relaxed SIMD", cpu: "wasm", webgpu: "WebGPU" };

const [where, ...asked] = process.argv.slice(2);
const threads = asked.at(-1) === "all" ? availableParallelism() : 1;
const counted = threads > 1 ? `, ${threads} threads` : "";
if (where === "node") await inNode();
else if (where === "firefox") await inBrowser("Firefox", await launchFirefox());
else await inBrowser("Chromium", await launchChromium());

/** Node has relaxed SIMD from version 22 on. */
async function inNode() {
  const load = (/** @type {string} */ file) => import(new URL(file, WASM).href);
  const wasm = new Uint8Array(await readFile(new URL("engine_bg.wasm", WASM)));
  const version = process.versions.node.split(".")[0];
  const which = Number(version) >= 22 ? "cpu" : "plain";
  const entered = contestant(load, wasm, which, { name: `Node ${version}, wasm${counted}`, threads, start });
  await takeOrders(async (order) => (await entered)(order));
}

/**
 * @param {string} title
 * @param {import("playwright-core").Browser | import("puppeteer-core").Browser} browser
 */
async function inBrowser(title, browser) {
  const which = asked[0] ?? "cpu";
  const server = await serveFolders({ "/checks/": at("checks"), "/wasm/": fileURLToPath(WASM) }, POLICY, ISOLATED);
  const page = await browser.newPage();
  await page.goto(`${server.origin}/checks/empty.html`);
  const options = { which, name: `${title}, ${NAMES[which] ?? which}${counted}`, threads: `${threads}` };
  await takeOrders(await inWorker(page, `bench.js?${new URLSearchParams(options)}`));
  await browser.close();
  server.close();
}
