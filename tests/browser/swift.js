/** How quickly the site answers while it computes, and what it gives back when it has: measured in Chromium on the CPU device. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

/** @typedef {import("playwright-core").Page} Page */

/** @type {import("./page.js").Scene[]} */
export const SWIFT_SCENES = [
  ["the first loss comes within 5 s of pressing Grow", firstLoss],
  ["while nano grows, the page does nothing for longer than 50 ms, and answers a click within 100 ms", stayAwake],
  ["a hundred workers are started and ended, and leave nothing behind", endWorkers],
];

/** Other programs share the machine: of so many tries, the best counts. */
const TRIES = 3;
const FIRST_LOSS_MS = 5000;
const TASK_MS = 50;
const CLICK_MS = 100;
/** How long the page is watched. */
const WATCHED_MS = 4000;
const ROUNDS = 100;
/** What a renderer may gain over all the rounds but the first ten: a worker that stayed would hold some 20 MB. */
const GAIN_MB = 64;

/** A click that is slow on purpose must be seen, or seeing none would mean nothing. @param {Page} watched */
async function provesToSee(watched) {
  await watched.evaluate(() => {
    const slow = document.createElement("button");
    slow.textContent = "slow on purpose";
    slow.onclick = () => {
      for (const began = performance.now(); performance.now() - began < 80; );
      slow.remove();
    };
    document.body.prepend(slow);
  });
  await watched.getByText("slow on purpose").click();
  // Asked from here, because a page under its policy must not evaluate a text by itself.
  for (const began = Date.now(); !(await watched.evaluate("seen.tasks.some((ms) => ms >= 80) && seen.clicks.some((ms) => ms >= 80)")); ) {
    assert.ok(Date.now() - began < 10_000, "a click that is slow on purpose is not seen");
    await watched.waitForTimeout(50);
  }
}

/** The best of a few tries. @param {() => Promise<number>} measure @param {number} most */
async function best(measure, most) {
  const found = [];
  while (found.length < TRIES && !(Math.min(...found) <= most)) found.push(Math.round(await measure()));
  assert.ok(Math.min(...found) <= most, `${found.join(", ")} ms, expected at most ${most} once`);
  return found;
}

/** From a cold start: a page that has loaded nothing of the engine, in a browser without a cache for it. @param {Page} page */
async function firstLoss(page) {
  const browser = /** @type {import("playwright-core").Browser} */ (page.context().browser());
  const found = await best(async () => {
    const context = await browser.newContext();
    const fresh = await context.newPage();
    await fresh.goto(`${new URL(page.url()).origin}/#/grow?device=cpu`);
    const trainer = fresh.locator("cloche-trainer");
    await trainer.getByRole("button", { name: "Grow" }).waitFor();
    const arrived = trainer.evaluate((trainer) => {
      return new Promise((resolve) => {
        let pressed = 0;
        trainer.addEventListener("click", () => (pressed ||= performance.now()));
        trainer.addEventListener("cloche-event", (event) => {
          if (/** @type {CustomEvent} */ (event).detail.event === "step") resolve(performance.now() - pressed);
        });
      });
    });
    await trainer.getByRole("button", { name: "Grow" }).click();
    const ms = await arrived;
    await context.close();
    return /** @type {number} */ (ms);
  }, FIRST_LOSS_MS);
  return `${found.join(", ")} ms`;
}

/** @param {Page} page */
async function stayAwake(page) {
  const browser = /** @type {import("playwright-core").Browser} */ (page.context().browser());
  const watched = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  await watched.goto(`${new URL(page.url()).origin}/#/grow?preset=nano&steps=100000&device=cpu`);
  const trainer = watched.locator("cloche-trainer");
  await trainer.getByRole("button", { name: "Grow" }).click();
  await trainer.locator("[part=status]").filter({ hasText: /^Step [1-9]/ }).waitFor();
  await watched.evaluate(() => {
    const seen = { tasks: /** @type {number[]} */ ([]), clicks: /** @type {number[]} */ ([]) };
    const durations = (/** @type {PerformanceObserverEntryList} */ list) => list.getEntries().map(({ duration }) => duration);
    new PerformanceObserver((list) => seen.tasks.push(...durations(list))).observe({ type: "longtask" });
    new PerformanceObserver((list) => {
      seen.clicks.push(...list.getEntries().flatMap(({ name, duration }) => (name === "click" ? duration : [])));
    }).observe(/** @type {any} */ ({ type: "event", durationThreshold: 16 }));
    Object.assign(globalThis, { seen });
  });
  await provesToSee(watched);
  const table = watched.locator("cloche-loss").getByText("Show as a table");
  const clicks = /** @type {number[]} */ ([]);
  const tasks = await best(async () => {
    await watched.evaluate("seen.tasks.length = seen.clicks.length = 0");
    for (let waited = 0; waited < WATCHED_MS; waited += 500) {
      await table.click();
      await watched.waitForTimeout(500);
    }
    const seen = await watched.evaluate("({ tasks: [...seen.tasks], clicks: [...seen.clicks] })");
    clicks.push(Math.max(0, .../** @type {any} */ (seen).clicks));
    return Math.max(0, .../** @type {any} */ (seen).tasks);
  }, TASK_MS);
  assert.ok(Math.min(...clicks) <= CLICK_MS, `a click was answered within ${clicks} ms, expected at most ${CLICK_MS} once`);
  await trainer.getByRole("button", { name: "Stop" }).click();
  await watched.close();
  return `longest tasks ${tasks} ms (those of less than 50 count as 0), slowest clicks ${clicks} ms`;
}

/** @param {Page} page */
async function endWorkers(page) {
  const browser = /** @type {import("playwright-core").Browser} */ (page.context().browser());
  const lively = await browser.newPage();
  await lively.goto(`${new URL(page.url()).origin}/checks/empty.html`);
  const rounds = (/** @type {number} */ count) =>
    lively.evaluate(async (count) => {
      const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
      for (let i = 0; i < count; i++) (await Cloche.create({ device: "cpu" })).dispose();
    }, count);
  await rounds(ROUNDS / 10);
  const before = await rendererMb(browser);
  await rounds(ROUNDS - ROUNDS / 10);
  await lively.waitForTimeout(500);
  assert.equal(lively.workers().length, 0, "workers are left behind");
  const gain = (await rendererMb(browser)) - before;
  assert.ok(gain <= GAIN_MB, `the browser's pages have ${gain} MB more than after ${ROUNDS / 10} rounds, expected at most ${GAIN_MB}`);
  await lively.close();
  return `${ROUNDS} rounds, ${gain} MB gained`;
}

/** What the processes of all pages hold in memory. @param {import("playwright-core").Browser} browser */
async function rendererMb(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  const renderers = processInfo.filter(({ type }) => type === "renderer");
  const statuses = await Promise.all(renderers.map(({ id }) => readFile(`/proc/${id}/status`, "utf8")));
  const kilobytes = statuses.map((status) => Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0));
  return Math.round(kilobytes.reduce((sum, one) => sum + one, 0) / 1024);
}
