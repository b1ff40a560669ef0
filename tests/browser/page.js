/** The site and the elements as a reader uses them, in Chromium on the CPU device. */
import { mkdir } from "node:fs/promises";
import { ELEMENT_SCENES } from "./elements.js";
import { labsInFirefox } from "./firefox.js";
import { LAB_SCENES, SHOTS, growsWithoutWebgpu } from "./labs.js";
import { launchChromium } from "./stacks.js";
import { SWIFT_SCENES } from "./swift.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").Browser} Browser */
/** @typedef {[string, (page: Page) => Promise<string | void>]} Scene */

/**
 * @param {string} origin
 * @param {string} only
 * @returns {AsyncGenerator<import("./stacks.js").Outcome>}
 */
export async function* checkPage(origin, only) {
  await mkdir(SHOTS, { recursive: true });
  const browser = await launchChromium();
  try {
    yield* play(browser, { address: origin, scenes: LAB_SCENES, only, what: "the labs" });
    yield* play(browser, {
      address: `${origin}/checks/elements.html`,
      scenes: ELEMENT_SCENES,
      only,
      what: "the elements",
    });
    yield* play(browser, { address: origin, scenes: SWIFT_SCENES, only, what: "the quick page" });
  } finally {
    await browser.close();
  }
  if ("firefox".includes(only)) yield await labsInFirefox(origin);
  const plain = await launchChromium({ webgpu: false });
  try {
    const scenes = /** @type {Scene[]} */ ([
      ["without WebGPU a model grows on the CPU, and the page says so", growsWithoutWebgpu],
    ]);
    yield* play(plain, { address: origin, scenes, only, what: "the page without WebGPU" });
  } finally {
    await plain.close();
  }
}

/**
 * Scenes one after the other in one page, which must not complain meanwhile.
 * @param {Browser} browser
 * @param {{ address: string, scenes: Scene[], only: string, what: string }} play
 * @returns {AsyncGenerator<import("./stacks.js").Outcome>}
 */
async function* play(browser, { address, scenes, only, what }) {
  const played = scenes.filter(([name]) => name.includes(only));
  if (played.length === 0) return;
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const complaints = complaintsOf(page, new URL(address).origin);
  page.setDefaultTimeout(60_000);
  await page.goto(address);
  for (const [name, scene] of played) {
    const started = performance.now();
    const outcome = await scene(page).then(
      (note) => ({ note: note ?? "" }),
      (error) => ({ error: String(error?.message ?? error) }),
    );
    yield { name, ms: performance.now() - started, ...outcome };
  }
  const quiet = { name: `${what}: no error is logged, no other host is asked`, ms: 0 };
  yield complaints.length > 0 ? { ...quiet, error: complaints.join("; ") } : quiet;
  await page.close();
}

/** What a page logs as an error, throws, or asks of others; filled as it comes. @param {Page} page @param {string} origin */
export function complaintsOf(page, origin) {
  /** @type {string[]} */
  const complaints = [];
  page.on("console", (message) => {
    // Browsers ask for an icon that nobody has named.
    const isIcon = message.location().url.endsWith("/favicon.ico");
    if (message.type() === "error" && !isIcon) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !url.startsWith("blob:")) complaints.push(url);
  });
  return complaints;
}
