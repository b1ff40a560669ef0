import { defineConfig } from "vite";

/** With these a page may have threads; without them it works as well, on one. */
const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

export default defineConfig({
  base: "./",
  server: { headers },
  preview: { headers },
  // Every file stays a file: the page's content-security policy allows no data: scripts and no inline ones.
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: "es" },
});
