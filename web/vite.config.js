import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  // Every file stays a file: the page's content-security policy allows no data: scripts and no inline ones.
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: "es" },
});
