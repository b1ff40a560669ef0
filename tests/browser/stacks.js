/**
 * The stacks under test: Chromium (Dawn on SwiftShader), Firefox (wgpu on lavapipe), Node (Dawn on SwiftShader).
 * Each opens a page, or in Node runs here, and yields the outcome of every check as it comes.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

const env = process.env;
export const CHROMIUM = env.CLOCHE_CHROMIUM ?? "/usr/bin/chromium";
const FIREFOX = env.CLOCHE_FIREFOX ?? "/usr/bin/firefox-esr";
const LAVAPIPE = env.CLOCHE_LAVAPIPE ?? "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";
export const SWIFTSHADER = env.CLOCHE_SWIFTSHADER ?? "/usr/lib/chromium/vk_swiftshader_icd.json";

/** Chromium without a GPU and without any traffic of its own. */
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Firefox with WebGPU on whatever Vulkan driver there is. */
const FIREFOX_PREFS = {
  "dom.webgpu.enabled": true,
  "gfx.webgpu.ignore-blocklist": true,
  "gfx.webgpu.force-enabled": true,
};

/** Starts Chromium, with WebGPU or as a browser that has none. @param {{ webgpu?: boolean }} [options] */
export function launchChromium({ webgpu = true } = {}) {
  const args = CHROMIUM_FLAGS.filter((flag) => webgpu || !flag.includes("webgpu"));
  return chromium.launch({ executablePath: CHROMIUM, args: webgpu ? args : [...args, "--disable-features=WebGPU"] });
}

/** Starts Firefox on lavapipe. */
export function launchFirefox() {
  return puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    extraPrefsFirefox: FIREFOX_PREFS,
    env: { ...env, VK_DRIVER_FILES: LAVAPIPE },
    protocolTimeout: 600_000,
  });
}

/** @typedef {import("./checks/list.js").Outcome} Outcome */

/**
 * Yields outcomes from a page that runs the checks, until it says that it has finished.
 * @param {{ evaluate: (script: string) => Promise<any> }} page
 * @returns {AsyncGenerator<Outcome>}
 */
async function* outcomesOf(page) {
  for (;;) {
    const { outcomes, finished } = await page.evaluate("takeOutcomes()");
    yield* outcomes;
    if (finished && outcomes.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/**
 * @param {string} origin
 * @param {string} only
 */
export async function* inChromium(origin, only) {
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    await page.goto(`${origin}/checks/?only=${encodeURIComponent(only)}`);
    await page.waitForFunction("globalThis.takeOutcomes");
    yield* outcomesOf(page);
  } finally {
    await browser.close();
  }
}

/**
 * @param {string} origin
 * @param {string} only
 */
export async function* inFirefox(origin, only) {
  const browser = await launchFirefox();
  try {
    const page = await browser.newPage();
    await page.goto(`${origin}/checks/?only=${encodeURIComponent(only)}`);
    await page.waitForFunction("globalThis.takeOutcomes");
    yield* outcomesOf(page);
  } finally {
    await browser.close();
  }
}

/**
 * In a process of its own: the Vulkan loader reads its settings when the process starts, and a crash of Dawn must
 * not take the runner with it.
 * @param {string} _origin
 * @param {string} only
 * @returns {AsyncGenerator<Outcome>}
 */
export async function* inNode(_origin, only) {
  const script = fileURLToPath(new URL("checks/node.js", import.meta.url));
  const child = spawn(process.execPath, [script, only], {
    env: { ...env, VK_ICD_FILENAMES: SWIFTSHADER },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.on("close", resolve));
  let rest = "";
  for await (const chunk of child.stdout.setEncoding("utf8")) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line);
  }
  const status = await ended;
  if (status !== 0) yield { name: "node", error: `the process ended with ${status}`, ms: 0 };
}
