/** Models from an address: a server that breaks off, forgets, misleads and keeps silent, and a page that gets its model all the same. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { POLICY, serveFolders } from "./server.js";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {{ path: string, range: string | undefined, sent: number }} Request */

/** @type {[string, (page: Page) => Promise<string | void>][]} */
export const FETCHING = [
  ["a model is opened from a folder and from a zip at an address", (page) => served(page, fetchWhole)],
  ["a download that breaks off goes on, in the same tab and in the next", (page) => served(page, heal)],
  ["what is no model at an address is named", (page) => served(page, refuse)],
];

/** How the server behaves. */
const CALM = {
  /** Of the weights, so many bytes are sent before the connection breaks, so often. */
  breakAt: Infinity,
  breaks: 0,
  /** So many requests for the weights are refused for now. */
  busy: 0,
  /** What tells one content from another; with none, nothing is said of it. */
  version: "Tue, 01 Jul 2025 10:00:00 GMT",
  /** Contents in the place of others. */
  instead: /** @type {Record<string, { type: string, body: Buffer } | undefined>} */ ({}),
};

/** A server of files, and what it was asked for. */
class Host {
  /** @type {Map<string, Buffer>} */
  files = new Map();
  /** @type {Request[]} */
  asked = [];
  mood = { ...CALM };
  origin = "";
  #server = createServer((request, response) => this.#answer(request, response));

  async open() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", () => resolve(undefined)));
    this.origin = `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (this.#server.address()).port}`;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** What was asked for since the last time. */
  take() {
    return this.asked.splice(0);
  }

  /** @param {import("node:http").IncomingMessage} request @param {import("node:http").ServerResponse} response */
  #answer({ url = "/", method, headers }, response) {
    const path = new URL(url, "http://host").pathname;
    const { mood } = this;
    // Another origin: as Hugging Face, it lets everybody read.
    const open = { "access-control-allow-origin": "*", "cache-control": "no-store" };
    assert.equal(method, "GET", "no preflight is needed");
    const { type, body } = mood.instead[path] ?? { type: "application/octet-stream", body: this.files.get(path) };
    const seen = { path, range: headers.range, sent: 0 };
    this.asked.push(seen);
    if (!body) return void response.writeHead(404, open).end();
    if (mood.busy > 0 && path.endsWith(".safetensors")) {
      mood.busy--;
      return void response.writeHead(503, open).end();
    }
    const [, first] = /^bytes=(\d+)-$/.exec(headers.range ?? "") ?? [];
    const rest = body.subarray(Number(first ?? 0));
    const known = { ...open, "content-type": type, ...(mood.version && { "last-modified": mood.version }) };
    response.writeHead(first ? 206 : 200, { ...known, "content-length": rest.length });
    const breaks = mood.breaks > 0 && rest.length > mood.breakAt && path.endsWith(".safetensors");
    if (!breaks) return void response.end(rest, () => (seen.sent = rest.length));
    mood.breaks--;
    seen.sent = mood.breakAt;
    response.write(rest.subarray(0, mood.breakAt), () => setTimeout(() => response.destroy(), 150));
  }
}

/**
 * Grows a model, and serves it as a folder and as a zip.
 * @param {Page} page
 * @param {(page: Page, host: Host) => Promise<string | void>} scene
 */
async function served(page, scene) {
  const host = new Host();
  await host.open();
  /** @param {string} folder */
  const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
  // A site that lets its pages ask another one.
  const policy = POLICY.replace("default-src 'self'", `$& ${host.origin} http://127.0.0.1:9`);
  const site = await serveFolders({ "/checks/": at("checks"), "/pkg/": at("../../pkg/dist") }, policy);
  await page.goto(`${site.origin}/checks/empty.html`);
  try {
    const { files, archive } = await page.evaluate(async () => {
      const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
      const cloche = await Cloche.create({ device: "cpu" });
      for await (const _ of cloche.grow({ data: "to be or not to be. ".repeat(99), preset: "nano", steps: 1, contextLen: 32, batchSize: 1, evalEvery: 0 }));
      const text = (/** @type {Uint8Array} */ bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
      const files = [...(await cloche.export())].map(([name, bytes]) => [name, text(bytes)]);
      const archive = text(new Uint8Array(await (await cloche.export({ zip: true })).arrayBuffer()));
      cloche.dispose();
      return { files, archive };
    });
    for (const [name, bytes] of files) host.files.set(`/who/oak/resolve/main/${name}`, Buffer.from(String(bytes), "latin1"));
    host.files.set("/oak.zip", Buffer.from(archive, "latin1"));
    return await scene(page, host);
  } finally {
    host.close();
    site.close();
  }
}

const FOLDER = "/who/oak/resolve/main/";
const WEIGHTS = `${FOLDER}model.safetensors`;
const DEFAULT = ["config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"];

/** @param {Buffer | undefined} bytes */
const hashOf = (bytes) => createHash("sha256").update(bytes ?? "").digest("hex");

/**
 * Runs in the page: opens a model, and tells what came of it. A signal is aborted at so many bytes of the weights.
 * @param {readonly [href: string, options: any, abortAt?: number]} asked
 * @returns {Promise<{ info?: any, said?: string, error?: string, progress: any[], weights: string, kept: number }>}
 */
async function load([href, options, abortAt = Infinity]) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const cloche = await Cloche.create({ device: "cpu" });
  const progress = /** @type {any[]} */ ([]);
  const stopping = new AbortController();
  const onProgress = (/** @type {any} */ told) => {
    progress.push(told);
    if (told.file === "model.safetensors" && told.loaded >= abortAt) stopping.abort();
  };
  const outcome = await cloche.load(new URL(href), { ...options, onProgress, signal: stopping.signal }).then(
    (/** @type {any} */ info) => ({ info }),
    (/** @type {any} */ error) => ({ error: `${error.code}: ${error.message}` }),
  );
  let weights = "";
  if ("info" in outcome) {
    const bytes = (await cloche.export()).get("model.safetensors");
    weights = Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  // What was aborted is put away after the page has heard of it.
  await new Promise((resolve) => setTimeout(resolve, 300));
  cloche.dispose();
  let kept = 0;
  const downloads = await (await navigator.storage.getDirectory()).getDirectoryHandle("cloche-downloads", { create: true });
  for await (const folder of /** @type {AsyncIterable<any>} */ (downloads.values())) {
    for await (const file of folder.values()) if (/^\d+$/.test(file.name)) kept += (await file.getFile()).size;
  }
  return { ...outcome, progress, weights, kept };
}

/** @param {Page} page @param {Host} host */
async function fetchWhole(page, host) {
  const at = host.origin + FOLDER;
  const weights = host.files.get(WEIGHTS);
  const folder = await page.evaluate(load, /** @type {const} */ ([at, { sha256: { "model.safetensors": hashOf(weights).toUpperCase() } }]));
  assert.equal(folder.error, undefined);
  assert.equal(folder.info.name, "oak");
  assert.equal(folder.weights, hashOf(weights));
  assert.equal(folder.kept, 0, "nothing is left of what is whole");
  assert.deepEqual(host.take().map(({ path }) => path), DEFAULT.map((name) => FOLDER + name));
  const size = weights?.length;
  const own = folder.progress.filter(({ file }) => file === "model.safetensors");
  assert.deepEqual(own[0], { file: "model.safetensors", loaded: 0, total: size });
  assert.deepEqual(own.at(-1), { file: "model.safetensors", loaded: size, total: size });
  const archive = await page.evaluate(load, /** @type {const} */ ([`${host.origin}/oak.zip?x=1`, { sha256: hashOf(host.files.get("/oak.zip")), name: "a tree" }]));
  assert.deepEqual([archive.error, archive.info?.name, archive.weights], [undefined, "a tree", hashOf(weights)]);
  assert.deepEqual(host.take().map(({ path }) => path), ["/oak.zip"]);
  // Only what is named.
  const files = ["config.json", "tokenizer.json", "model.safetensors"];
  const named = await page.evaluate(load, /** @type {const} */ ([at.replace(/\/$/, ""), { files }]));
  assert.equal(named.error, undefined);
  assert.deepEqual(host.take().map(({ path }) => path), files.map((name) => FOLDER + name));
  // Weights by another name, in a list of them.
  const half = "model-00001-of-00001.safetensors";
  host.files.set(FOLDER + half, /** @type {Buffer} */ (weights));
  host.files.delete(WEIGHTS);
  const names = tensorsIn(/** @type {Buffer} */ (weights));
  const index = { metadata: {}, weight_map: Object.fromEntries(names.map((name) => [name, half])) };
  host.files.set(`${WEIGHTS}.index.json`, Buffer.from(JSON.stringify(index)));
  const sharded = await page.evaluate(load, /** @type {const} */ ([at, {}]));
  assert.deepEqual([sharded.error, sharded.weights], [undefined, hashOf(weights)]);
  return `${size} bytes`;
}

/** The names of the tensors in a safetensors file. @param {Buffer} bytes */
function tensorsIn(bytes) {
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString());
  return Object.keys(header).filter((name) => name !== "__metadata__");
}

/** @param {Page} page @param {Host} host */
async function heal(page, host) {
  const asked = /** @type {const} */ ([host.origin + FOLDER, {}]);
  const expected = hashOf(host.files.get(WEIGHTS));
  const size = Number(host.files.get(WEIGHTS)?.length);
  const ofWeights = () => host.take().filter(({ path }) => path === WEIGHTS);
  // A connection that breaks twice is a matter of the worker's.
  host.mood = { ...CALM, breakAt: 1_000_000, breaks: 2 };
  const twice = await page.evaluate(load, asked);
  assert.deepEqual([twice.error, twice.weights, twice.kept], [undefined, expected, 0]);
  const ranges = ofWeights().map(({ range }) => range);
  assert.deepEqual(ranges, [undefined, "bytes=999999-", "bytes=1999998-"]);
  // One that stays away is told; what has come is kept for the next visit.
  host.mood = { ...CALM, breakAt: 1_000_000, breaks: 99 };
  const aborted = await page.evaluate(load, /** @type {const} */ ([...asked, 1_500_000]));
  assert.equal(aborted.error, "ABORTED: stopped by the caller");
  assert.ok(aborted.kept >= 1_000_000 && aborted.kept < size, `${aborted.kept} bytes are kept`);
  host.take();
  // Nor is it lost where a server has too much to do for a while.
  host.mood = { ...CALM, busy: 2 };
  const next = await page.evaluate(load, asked);
  assert.deepEqual([next.error, next.weights, next.kept], [undefined, expected, 0]);
  const [, , rest, ...more] = ofWeights();
  assert.equal(more.length, 0);
  assert.ok(Number(/^bytes=(\d+)-$/.exec(rest?.range ?? "")?.[1]) >= 999_999, `asked for ${rest?.range}`);
  assert.ok(next.progress.some(({ file, loaded }) => file === "model.safetensors" && loaded >= 1_000_000 && loaded < size));
  // Another content since then, or a server that does not tell one from another: from the beginning.
  for (const version of ["Wed, 02 Jul 2025 10:00:00 GMT", ""]) {
    host.mood = { ...CALM, breakAt: 1_000_000, breaks: 99, ...(version === "" && { version }) };
    const broken = await page.evaluate(load, /** @type {const} */ ([...asked, 500_000]));
    // Without a word of what it is, nothing can be gone on with: after some attempts that is told.
    if (version === "") assert.match(String(broken.error), /^DOWNLOAD: model\.safetensors: found no answer \(.+\) at /);
    else assert.ok(broken.error?.startsWith("ABORTED") && broken.kept > 0, `${broken.error}, ${broken.kept} bytes are kept`);
    host.take();
    host.mood = { ...CALM, version };
    const anew = await page.evaluate(load, asked);
    assert.deepEqual([anew.error, anew.weights, anew.kept], [undefined, expected, 0]);
    assert.equal(ofWeights().at(-1)?.range, undefined);
  }
  return `${aborted.kept} of ${size} bytes were kept`;
}

/** @param {Page} page @param {Host} host */
async function refuse(page, host) {
  const at = host.origin + FOLDER;
  const attempt = async (/** @type {string} */ href, /** @type {object} */ options = {}) =>
    String((await page.evaluate(load, /** @type {const} */ ([href, options]))).error);
  const html = { type: "text/html; charset=utf-8", body: Buffer.from("<!doctype html><title>The site</title>") };
  const pointer = { type: "text/plain", body: Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n") };
  host.mood.instead = { [WEIGHTS]: html };
  assert.match(await attempt(at), /^DOWNLOAD: model\.safetensors: found an HTML page at http.*, expected a file$/);
  // Where a page is given for whatever is not there, what may be missing is.
  host.mood.instead = { [`${FOLDER}chat_template.jinja`]: html };
  assert.equal(await attempt(at), "undefined");
  host.mood.instead = { [WEIGHTS]: pointer };
  assert.match(await attempt(at), /^DOWNLOAD: model\.safetensors: found a pointer of Git LFS at .*, expected the file it points to$/);
  host.mood.instead = { [WEIGHTS]: { type: "application/octet-stream", body: Buffer.from("no weights") } };
  assert.match(await attempt(at), /^CHECKPOINT: /);
  host.mood.instead = {};
  const wrong = "0".repeat(64);
  const found = hashOf(host.files.get(WEIGHTS));
  const said = await attempt(at, { sha256: { "model.safetensors": wrong } });
  assert.equal(said, `DOWNLOAD: model.safetensors: found SHA-256 ${found} at ${host.origin}${WEIGHTS}, expected ${wrong}`);
  assert.match(await attempt(at, { sha256: { "weights.bin": wrong } }), /^DOWNLOAD: sha256: found "weights\.bin", expected files that are downloaded: config\.json, /);
  assert.match(await attempt(`${host.origin}/gone/`), /^DOWNLOAD: config\.json: found HTTP status 404 at .*\/gone\/config\.json, expected a file$/);
  assert.match(await attempt("http://127.0.0.1:9/model.zip"), /^DOWNLOAD: model\.zip: found no answer \(.+\) at http.*, expected a file$/);
  const text = await page.evaluate(async (href) => {
    const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
    const cloche = await Cloche.create({ device: "cpu" });
    const error = await cloche.load(href).catch((/** @type {any} */ error) => `${error.code}: ${error.message}`);
    cloche.dispose();
    return error;
  }, at);
  assert.equal(text, 'SETTINGS: model: found a text, expected files, a zip, or an address: new URL("…")');
}
