/**
 * The package as npm packs it, in the hands of those who install it. The projects of `tests/packaging` are copied to
 * `target/packaging`, the tarball is installed there, each is built by its own tool, and what comes out grows a model: in a
 * browser on the CPU device, and in Node on both devices.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { cp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { complaintsOf } from "./page.js";
import { ISOLATED, POLICY, serveFolders } from "./server.js";
import { launchChromium, SWIFTSHADER } from "./stacks.js";

/** @typedef {import("playwright-core").Browser} Browser */
/** @typedef {import("playwright-core").Page} Page */

/** @param {string} path */
const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const PROJECTS = at("../packaging/");
const PLACE = at("../../target/packaging/");
const MODULES = at("../../node_modules/");
const ENV = { ...process.env, NO_COLOR: "1", NEXT_TELEMETRY_DISABLED: "1", NEXT_IGNORE_INCORRECT_LOCKFILE: "1" };

/** @type {[string, (browser: Browser) => Promise<string | void>][]} */
const SCENES = [
  ["one script tag on a static page", scriptTag],
  ["a page that Vite builds", (browser) => built(browser, "vite")],
  ["the same page as Vite serves it to its author", viteDev],
  ["a page that webpack builds", (browser) => built(browser, "webpack")],
  ["a page that esbuild builds", (browser) => built(browser, "esbuild")],
  ["a page in one file, opened from a disk", oneFile],
  ["a page of one script, under a policy that lets workers be `blob:`", oneScript],
  ["a site of Next.js, rendered on its server and alive in the browser", nextSite],
  ["Node on the CPU", () => inNode("cpu")],
  ["Node with WebGPU", () => inNode("webgpu")],
];

/**
 * @param {string} _origin
 * @param {string} only
 * @returns {AsyncGenerator<import("./stacks.js").Outcome>}
 */
export async function* checkPackaging(_origin, only) {
  const browser = await launchChromium();
  try {
    for (const [name, scene] of [/** @type {const} */ (["it is packed and installed", install]), ...SCENES]) {
      if (scene !== install && !name.includes(only)) continue;
      const started = performance.now();
      const outcome = await scene(browser).then(
        (note) => ({ note: note ?? "" }),
        (error) => ({ error: String(error?.stdout ?? "") + String(error?.stderr ?? "") + String(error?.message ?? error) }),
      );
      yield { name, ms: performance.now() - started, ...outcome };
    }
  } finally {
    await browser.close();
  }
}

/** Runs a command in the projects' place. @param {string} program @param {string[]} args */
function command(program, ...args) {
  return promisify(execFile)(program, args, { cwd: PLACE, env: ENV, timeout: 180_000 });
}

async function install() {
  await rm(PLACE, { recursive: true, force: true });
  await mkdir(PLACE, { recursive: true });
  const { stdout } = await command("npm", "pack", at("../../pkg"), "--json", "--ignore-scripts");
  const [{ filename, size, entryCount }] = JSON.parse(stdout);
  await rename(PLACE + filename, `${PLACE}cloche.tgz`);
  const isSource = (/** @type {string} */ path) => !/node_modules|\.next|\/dist/.test(path.slice(PROJECTS.length));
  await cp(PROJECTS, PLACE, { recursive: true, filter: isSource });
  // The tools are those of the workspace; what is installed is the tarball alone, which depends on nothing.
  const { devDependencies: _tools, ...project } = JSON.parse(await readFile(`${PROJECTS}package.json`, "utf8"));
  const dependencies = { cloche: "file:cloche.tgz" };
  await writeFile(`${PLACE}package.json`, JSON.stringify({ ...project, dependencies }));
  await command("npm", "install", "--offline", "--no-package-lock");
  return `${entryCount} files, ${(size / 1e6).toFixed(2)} MB`;
}

/**
 * A model grows in a page as its program says, and another in the elements, which share the package's files with it.
 * @param {Browser} browser @param {string} address
 */
async function drive(browser, address, { program = true, elements = true } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = complaintsOf(page, address.startsWith("file:") ? address : new URL(address).origin);
  try {
    await page.goto(address);
    let said = program ? await growByProgram(page) : "";
    if (elements) said = await growByElements(page);
    assert.deepEqual(complaints, []);
    return said;
  } catch (error) {
    throw new Error([error, ...complaints].join("\n"));
  } finally {
    await page.close();
  }
}

/** @param {Page} page */
async function growByProgram(page) {
  await page.locator("#grow").click();
  await page.locator("#loss").filter({ hasText: /^step 5: loss \d\.\d/ }).waitFor();
  const said = page.locator("#said").filter({ hasText: /./ });
  await said.waitFor();
  const [threads, expected] = await page.evaluate(() => [
    Number(document.body.dataset.threads ?? 1),
    crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1,
  ]);
  assert.equal(threads, expected, "threads share the work where the page can have some");
  return `${await page.locator("#loss").textContent()}, ${JSON.stringify(await said.textContent())}`;
}

/** @param {Page} page */
async function growByElements(page) {
  const trainer = page.locator("cloche-trainer");
  await trainer.getByRole("button", { name: "Grow" }).click();
  await trainer.locator("[part=status]").filter({ hasText: /^Grown: 5 steps/ }).waitFor();
  const prompt = page.locator("cloche-prompt");
  await prompt.getByRole("button", { name: "Continue" }).click();
  const said = prompt.locator("[part=answers][aria-busy=false] li");
  await said.waitFor();
  return JSON.stringify((await said.textContent())?.trim());
}

/**
 * Serves folders while a page is driven: as most hosts do, and so that it has threads.
 * @param {Browser} browser @param {Record<string, string>} folders @param {any} [how]
 */
async function served(browser, folders, { policy = POLICY, ...how } = {}) {
  let said = "";
  for (const headers of [{}, ISOLATED]) {
    const server = await serveFolders(folders, policy, headers);
    try {
      said = await drive(browser, `${server.origin}/`, how);
    } finally {
      server.close();
    }
  }
  return said;
}

/** @param {Browser} browser */
function scriptTag(browser) {
  return served(browser, { "/cloche/": `${PLACE}node_modules/cloche/dist`, "/": `${PLACE}script-tag` }, { program: false });
}

/** The page as a bundler leaves it. @param {Browser} browser @param {string} bundler @param {any} [how] */
async function built(browser, bundler, how) {
  const started = performance.now();
  await command("npm", "run", bundler);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  return `built in ${seconds} s; ${await served(browser, { "/": `${PLACE}dist/${bundler}` }, how)}`;
}

/** @param {Browser} browser */
function oneScript(browser) {
  return built(browser, "inline", { elements: false, policy: `${POLICY}; worker-src blob:` });
}

/** @param {Browser} browser */
async function oneFile(browser) {
  await command("npm", "run", "single");
  return drive(browser, pathToFileURL(`${PLACE}single/index.html`).href, { elements: false });
}

/** A server that a project's tool starts, while a page of it is driven. @param {string} tool @param {string[]} args @param {(address: string) => Promise<string>} visit */
async function whileServing(tool, args, visit) {
  const server = spawn(process.execPath, [MODULES + tool, ...args], { cwd: PLACE, env: ENV, detached: true });
  try {
    let printed = "";
    for await (const chunk of server.stdout.setEncoding("utf8")) {
      printed += chunk;
      const address = /http:\/\/(?:localhost|127\.0\.0\.1):\d+/.exec(printed)?.[0];
      if (address) return await visit(address);
    }
    throw new Error(`${tool} did not say where it serves: ${printed}`);
  } finally {
    if (server.pid) process.kill(-server.pid);
  }
}

/** @param {Browser} browser */
function viteDev(browser) {
  return whileServing("vite/bin/vite.js", ["page", "--port", "4180", "--host", "127.0.0.1"], (address) => drive(browser, address));
}

/** @param {Browser} browser */
async function nextSite(browser) {
  const started = performance.now();
  await command("npm", "run", "next");
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const said = await whileServing("next/dist/bin/next", ["start", "next", "--port", "4181"], async (address) => {
    const html = await (await fetch(address)).text();
    assert.match(html, /<h1>Rendered on a server<\/h1><button id="grow">Grow<\/button>/);
    return drive(browser, address);
  });
  return `built in ${seconds} s; ${said}`;
}

/** @param {"cpu" | "webgpu"} device */
async function inNode(device) {
  const env = { ...ENV, VK_ICD_FILENAMES: SWIFTSHADER };
  const { stdout } = await promisify(execFile)(process.execPath, ["node/main.js", device], { cwd: PLACE, env, timeout: 300_000 });
  const lines = stdout.split("\n");
  assert.match(lines[4] ?? "", new RegExp(`^step 5: loss \\d\\.\\d+ on ${device}$`));
  const said = lines.slice(5).join("\n");
  assert.ok(said.length > 0, stdout);
  return `${lines[4]}, ${JSON.stringify(said)}`;
}
