/**
 * The engine's module as a contestant of `cargo xtask bench`, which builds it and runs this:
 *
 *     node tests/browser/bench.js node
 *     node tests/browser/bench.js chromium plain|cpu|webgpu
 *
 * `plain` computes products as any browser can, `cpu` with relaxed SIMD, `webgpu` on whatever adapter Chromium has.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { contestant } from "./checks/contestant.js";
import { inWorker, takeOrders } from "./contest.js";
import { serveFolders } from "./server.js";
import { launchChromium } from "./stacks.js";

/** @param {string} folder */
const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
const WASM = new URL("../../target/wasm-checks/", import.meta.url);
/** @type {Record<string, string>} */
const NAMES = {
  plain: "Chromium, wasm without relaxed SIMD",
  cpu: "Chromium, wasm",
  webgpu: "Chromium, WebGPU",
};

const [where, which = "cpu"] = process.argv.slice(2);
if (where === "node") await inNode();
else await inChromium(which);

/** On one thread of Node, which has relaxed SIMD from version 22 on. */
async function inNode() {
  const module = await import(new URL("engine.js", WASM).href);
  const { fuse } = await import(new URL("gemm.js", WASM).href);
  const { memory } = await module.default({ module_or_path: await readFile(new URL("engine_bg.wasm", WASM)) });
  const version = process.versions.node.split(".")[0];
  const fused = Number(version) >= 22;
  const entered = contestant({ module, memory, fuse }, fused ? "cpu" : "plain", `Node ${version}, wasm`);
  await takeOrders(async (order) => (await entered)(order));
}

/** @param {string} which */
async function inChromium(which) {
  const server = await serveFolders({ "/checks/": at("checks"), "/wasm/": fileURLToPath(WASM) });
  const browser = await launchChromium();
  const page = await browser.newPage();
  await page.goto(`${server.origin}/checks/empty.html`);
  const name = NAMES[which] ?? which;
  await takeOrders(await inWorker(page, `bench.js?${new URLSearchParams({ which, name })}`));
  await browser.close();
  server.close();
}
