/**
 * A peer, or Cloche, as a contestant of `cargo xtask bench peers`, which installs what package.json names and runs this once for each:
 *
 *     node tests/bench/peers/main.js "jax wasm 1" FOLDER
 *
 * The first word is cloche, jax or tf, the second the device, the third how many threads: 1 or all. The folder holds what all
 * begin with, as `contestant export` writes it. Each has a Chromium of its own, whose pages are cross-origin isolated, or there
 * would be no threads.
 */
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { inWorker, takeOrders } from "../../browser/contest.js";
import { ISOLATED, serveFolders } from "../../browser/server.js";
import { launchChromium } from "../../browser/stacks.js";

/** @param {string} path */
const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const BUILT = at("../../../target/bench/peers/");
/** @type {Record<string, [name: string, package: string]>} */
const PEERS = { jax: ["jax-js", "@jax-js/jax"], tf: ["TensorFlow.js", "@tensorflow/tfjs-core"] };

const [which = "", folder = ""] = process.argv.slice(2);
const [peer = "", device = "", count] = which.split(" ");
const threads = count === "1" ? 1 : availableParallelism();
const where = device === "webgpu" ? "Chromium, WebGPU" : `Chromium, wasm, ${threads} thread${threads === 1 ? "" : "s"}`;
const ours = peer === "cloche";
if (!ours) await bundle();
const server = await serveFolders(
  {
    "/checks/": at("../../browser/checks"),
    "/wasm/": at("../../../target/wasm-checks"),
    "/peers/": BUILT,
    "/tfjs-wasm/": at("node_modules/@tensorflow/tfjs-backend-wasm/wasm-out"),
    "/exported/": folder,
  },
  // Threads start from a blob, and kernels are compiled from text.
  "default-src 'self' blob: 'unsafe-eval' 'wasm-unsafe-eval'",
  ISOLATED,
);
const browser = await launchChromium();
const page = await browser.newPage();
await page.goto(`${server.origin}/checks/empty.html`);
await takeOrders(await inWorker(page, await address()));
await browser.close();
server.close();

/** The worker's address. */
async function address() {
  if (ours) {
    const which = device === "webgpu" ? "webgpu" : "cpu";
    const options = { which, name: `Cloche, ${where}`, device: where, threads: `${device === "webgpu" ? 1 : threads}` };
    return `/checks/bench.js?${new URLSearchParams(options)}`;
  }
  const [title, name] = PEERS[peer] ?? [peer, peer];
  const { version } = JSON.parse(await readFile(at(`node_modules/${name}/package.json`), "utf8"));
  const options = { peer, device, threads: `${threads}`, name: `${title} ${version}, ${where}`, where };
  return `/peers/worker.js?${new URLSearchParams(options)}`;
}

/** The worker and its libraries, as files that a browser can load. */
async function bundle() {
  await build({
    entryPoints: [at("worker.js")],
    outdir: BUILT,
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    logLevel: "error",
    // What TensorFlow.js has for Node only.
    external: ["fs", "path", "util", "crypto", "worker_threads", "perf_hooks", "os", "node-fetch", "string_decoder"],
  });
}
