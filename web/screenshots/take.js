/**
 * Takes pictures of the first page and of every lab, with a model that has grown, at three widths, light and dark:
 *
 *     node web/screenshots/take.js [--steps 1500] [--all FOLDER]
 *
 * The two that the README shows come to lie beside this file; the others go into the folder, where one is named.
 */
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { serveFolders } from "../../tests/browser/server.js";
import { launchChromium } from "../../tests/browser/stacks.js";

/** @param {string} path */
const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const LABS = ["", "tokens", "grow", "talk"];
const WIDTHS = [375, 768, 1280];
const SCHEMES = /** @type {const} */ (["light", "dark"]);

const { values } = parseArgs({ options: { steps: { type: "string", default: "1500" }, all: { type: "string" } } });
const server = await serveFolders({ "/": at("../dist") });
const browser = await launchChromium();
const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
page.setDefaultTimeout(300_000);

await page.goto(`${server.origin}/#/grow?steps=${values.steps}&device=cpu`);
await page.locator("cloche-trainer").getByRole("button", { name: "Grow" }).click();
await page.locator("cloche-trainer [part=status]").filter({ hasText: /^Grown/ }).waitFor();
await shown("grow");
await picture("cloche-loss", "grow.png", { width: 1040, height: 900 });
await page.emulateMedia({ colorScheme: "dark" });
await picture("cloche-attention", "grow-dark.png", { width: 375, height: 840 });
if (values.all) await takeAll(values.all);
await browser.close();
server.close();

/** Of the part of the lab that an element is in, with its heading at the top. @param {string} element @param {string} file @param {{ width: number, height: number }} size */
async function picture(element, file, size) {
  await page.setViewportSize(size);
  await page.locator("section", { has: page.locator(`${element}:visible`) }).evaluate((section) => section.scrollIntoView());
  await page.waitForTimeout(1000);
  await page.screenshot({ path: at(file) });
}

/** Opens a lab, and waits until its charts and maps are drawn. @param {string} lab */
async function shown(lab) {
  await page.evaluate((lab) => (location.hash = `#/${lab}`), lab);
  const article = page.locator("main > article:not([hidden])");
  await article.getByRole("heading", { level: 1 }).waitFor();
  if (lab === "tokens") await article.locator("lab-lengths figure").waitFor();
  if (lab === "grow" || lab === "talk") {
    await article.locator("cloche-prompt").getByRole("button", { name: /Continue|Again/ }).click();
    await article.locator("cloche-prompt [part=answers][aria-busy=false] li").first().waitFor();
  }
  // What is looked at only when it comes into sight is drawn then.
  for (const part of await article.locator("section").all()) {
    await part.scrollIntoViewIfNeeded();
    await page.waitForTimeout(300);
  }
  await page.evaluate("scrollTo(0, 0)");
}

/** @param {string} folder */
async function takeAll(folder) {
  await mkdir(folder, { recursive: true });
  for (const lab of LABS) {
    await page.setViewportSize({ width: 1280, height: 1000 });
    await shown(lab);
    for (const width of WIDTHS) {
      for (const colorScheme of SCHEMES) {
        await page.setViewportSize({ width, height: 1000 });
        await page.emulateMedia({ colorScheme });
        await page.waitForTimeout(300);
        await page.screenshot({ path: `${folder}/${lab || "first"}-${width}-${colorScheme}.png`, fullPage: true });
      }
    }
  }
}
