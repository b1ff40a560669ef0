/**
 * The package as one file, `dist/inline.js`: the worker's script and the wasm modules are in it, compressed, so that nothing
 * is fetched. Its worker starts from a `blob:` address.
 */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { defineConfig } from "vite";

/** Reads what follows and unpacks it, as if it had been fetched. */
const UNPACK = `async (packed) => {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream, { headers: { "content-type": "application/wasm" } });
}`;

/** Puts each wasm module in the place of its address. */
const modulesWithin = () => ({
  name: "modules-within",
  enforce: /** @type {const} */ ("pre"),
  /** @param {string} code @param {string} file */
  transform(code, file) {
    return code.replace(/new URL\(["'](\w+\.wasm)["'], ?import\.meta\.url\)/, (_, name) => {
      const packed = gzipSync(readFileSync(new URL(name, `file://${file}`)), { level: 9 }).toString("base64");
      return `(${UNPACK})("${packed}")`;
    });
  },
});

/** Has the worker started from within, too. */
const workerWithin = () => ({
  name: "worker-within",
  enforce: /** @type {const} */ ("pre"),
  /** @param {string} _code @param {string} file */
  transform(_code, file) {
    if (!file.endsWith("/dist/start.js")) return;
    return `import Inline from "./worker.js?worker&inline";\nexport const startWorker = () => new Inline();`;
  },
});

/** Leaves the worker its address, which Vite has it forget at once: threads start from it as well. */
const addressKept = () => ({
  name: "address-kept",
  /** @param {object} _options @param {Record<string, { code?: string }>} bundle */
  generateBundle(_options, bundle) {
    const forget = "(self.URL || self.webkitURL).revokeObjectURL(self.location.href);";
    for (const file of Object.values(bundle)) {
      if (!file.code?.includes(forget)) throw new Error(`Vite writes something else than \`${forget}\``);
      file.code = file.code.replace(forget, "");
    }
  },
});

export default defineConfig({
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: false,
    lib: { entry: "dist/index.js", formats: ["es"], fileName: () => "inline.js" },
    rolldownOptions: { output: { minify: true } },
  },
  plugins: [workerWithin(), addressKept()],
  worker: { plugins: () => [modulesWithin()], rolldownOptions: { output: { codeSplitting: false } } },
});
