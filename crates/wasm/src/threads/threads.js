/**
 * Threads for the engine's CPU device, in a page that is cross-origin isolated: instances of the same module, each in a
 * worker of its own, which work in the same memory. The module is one that asks for memory of its own kind, shared or not,
 * by a single bit; what Rust compiles it to is the same.
 */
import wasm from "./team_wasm.js";

/** The most pages of 64 KiB that a module may ask for. */
const PAGES = 65536;

/** Bytes of a thread's stack, as many as the engine's own thread has. */
const STACK = 1024 * 1024;

/** How long threads are waited for. One that begins later helps as well, but is not counted. */
const PATIENCE_MS = 10_000;

/** What `team.wat` exports, in the order in which the engine expects it in its table. */
const TEAM = ["begin", "take", "gave", "end", "lock", "unlock"];

/** @typedef {{ module: WebAssembly.Module, names: string[], first: number }} Part a module whose functions have places in the table */
/**
 * @typedef {object} Task what a thread needs to know
 * @property {WebAssembly.Module} engine
 * @property {Part} team
 * @property {WebAssembly.Memory} memory
 * @property {string} table the name of the engine's table
 * @property {Part | undefined} gemm
 * @property {number} words the address of what is counted
 * @property {number} stack the end of the thread's own
 */

/** An engine's memory, for threads to share. */
export class Threads {
  /** @type {WebAssembly.Memory | undefined} */
  #memory;
  /** The engine's module. @type {Uint8Array | undefined} */
  #bytes;

  /**
   * Opens the engine's module, given to the engine's `default` as `opening`. Where the browser does not set aside memory
   * to share, it is opened as ever.
   * @param {string | URL | Promise<Response> | Uint8Array<ArrayBuffer>} source
   * @returns {Promise<{ module_or_path: WebAssembly.Module | Uint8Array, memory?: WebAssembly.Memory }>}
   */
  async open(source) {
    const bytes = source instanceof Uint8Array ? source : await bytesAt(source);
    const initial = share(bytes);
    try {
      const memory = new WebAssembly.Memory({ initial, maximum: PAGES, shared: true });
      const module_or_path = await WebAssembly.compile(bytes);
      this.#memory = memory;
      this.#bytes = bytes;
      return { module_or_path, memory };
    } catch {
      return { module_or_path: unshare(bytes) };
    }
  }

  /**
   * Has so many threads share the engine's loops, its own among them, or as many as can be started.
   * @param {{ functionTable: () => WebAssembly.Table, useThreads: (first: number, threads: number) => number }} engine its module
   * @param {Record<string, unknown> & { __wbindgen_malloc: (size: number, align: number) => number }} exports its exports
   * @param {Part | undefined} gemm the products it uses
   * @param {number} threads
   * @param {(task: Task) => Promise<unknown>} start has `help` do the task in a new worker; resolves when it begins
   */
  async employ(engine, exports, gemm, threads, start) {
    const memory = this.#memory;
    const bytes = this.#bytes;
    if (!memory || !bytes || threads < 2) return;
    this.#bytes = undefined;
    const module = await WebAssembly.compile(withoutData(bytes));
    const table = engine.functionTable();
    const first = table.grow(TEAM.length);
    const team = { module: new WebAssembly.Module(bytesOf(wasm)), names: TEAM, first };
    place(team, table, memory);
    const name = Object.keys(exports).find((name) => exports[name] === table);
    if (name === undefined) throw new Error("the engine does not export its table");
    // Alone for the time being.
    const words = engine.useThreads(first, 1);
    let others = 0;
    const begun = Array.from({ length: threads - 1 }, () => {
      const stack = exports.__wbindgen_malloc(STACK, 16) + STACK;
      const task = { engine: module, team, memory, table: name, gemm, words, stack };
      return start(task).then(() => others++, () => {});
    });
    await Promise.race([Promise.all(begun), new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
    engine.useThreads(first, 1 + others);
  }
}

/** Works on the engine's loops, forever. @param {Task} task @param {() => void} begin hears that it does */
export function help({ engine, team, memory, table: name, gemm, words, stack }, begin) {
  const refuse = () => {
    throw new Error("a thread of the engine has nothing but its memory");
  };
  /** @type {Record<string, Record<string, WebAssembly.ImportValue>>} */
  const imports = {};
  for (const { module, name, kind } of WebAssembly.Module.imports(engine)) {
    (imports[module] ??= {})[name] = kind === "memory" ? memory : refuse;
  }
  const exports = /** @type {any} */ (new WebAssembly.Instance(engine, imports).exports);
  exports.__stack_pointer.value = stack;
  const table = /** @type {WebAssembly.Table} */ (exports[name]);
  // Of the same extent as the table of the engine's own thread, and the same in every place.
  table.grow(team.first + team.names.length - table.length, null);
  if (gemm) place(gemm, table, memory);
  const { changed } = place(team, table, memory);
  const counted = new Int32Array(memory.buffer, words, 5);
  begin();
  for (let seen = 0; ; ) {
    seen = changed(words, seen);
    try {
      exports.cloche_help();
    } catch (error) {
      // The engine's own thread waits for this piece, and is told what has become of it.
      console.error(error);
      Atomics.store(counted, 4, 1);
      Atomics.add(counted, 2, 1);
      Atomics.notify(counted, 2);
    }
  }
}

/**
 * Opens a module in an engine's memory, and puts its functions into their places; returns all that it exports.
 * @param {Part} part @param {WebAssembly.Table} table @param {WebAssembly.Memory} memory
 */
export function place({ module, names, first }, table, memory) {
  const exports = /** @type {any} */ (new WebAssembly.Instance(module, { env: { memory } }).exports);
  names.forEach((name, i) => table.set(first + i, exports[name]));
  return exports;
}

/** @param {string | URL | Promise<Response>} source */
async function bytesAt(source) {
  const answer = await (source instanceof Promise ? source : fetch(source));
  if (!answer.ok) throw new Error(`${answer.url}: the server answers ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** What the string that holds a module stands for. @param {string} base64 */
export const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

/** The bit of a memory's limits that says it is shared. */
const SHARED = 2;

/**
 * Has a module ask for shared memory. Its import of a memory must give a maximum.
 * @param {Uint8Array} bytes the module's, which are changed
 * @returns {number} the pages that it asks for in the beginning
 */
export function share(bytes) {
  const at = memoryIn(bytes);
  bytes[at] |= SHARED;
  return number(bytes, at + 1)[0];
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
function unshare(bytes) {
  bytes[memoryIn(bytes)] &= ~SHARED;
  return bytes;
}

/** Where the limits of the memory stand that a module imports. @param {Uint8Array} bytes */
function memoryIn(bytes) {
  const section = sections(bytes).find(({ id }) => id === 2);
  let [count, at] = section ? number(bytes, section.start) : [0, 0];
  for (; count > 0; count--) {
    // Two names, each after its length.
    for (let i = 0; i < 2; i++) {
      const [length, start] = number(bytes, at);
      at = start + length;
    }
    const kind = bytes[at++];
    if (kind === 2) return at;
    if (kind !== 0) break;
    at = number(bytes, at)[1];
  }
  throw new Error("the engine's module imports no memory");
}

/** A module that leaves out what the memory holds in the beginning. @param {Uint8Array} bytes */
function withoutData(bytes) {
  const kept = sections(bytes).filter(({ id }) => id !== 11 && id !== 12);
  const parts = kept.map(({ from, end }) => bytes.subarray(from, end));
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 8));
  whole.set(bytes.subarray(0, 8));
  let at = 8;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The sections of a module: WebAssembly specification, 5.5.2. @param {Uint8Array} bytes */
function sections(bytes) {
  const found = [];
  for (let at = 8; at < bytes.length; ) {
    const [length, start] = number(bytes, at + 1);
    found.push({ id: bytes[at], from: at, start, end: start + length });
    at = start + length;
  }
  return found;
}

/** A number in LEB128, and where the next one begins. @param {Uint8Array} bytes @param {number} at @returns {[number, number]} */
function number(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return [value, at];
  }
}
