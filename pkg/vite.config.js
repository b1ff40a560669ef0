import { defineConfig } from "vite";

/** The elements as one file, with Lit and uPlot in it; the package itself lies beside it. */
export default defineConfig({
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: false,
    lib: { entry: "elements/index.ts", formats: ["es"], fileName: () => "elements.js" },
    rolldownOptions: { external: ["cloche"], output: { minify: true, paths: { cloche: "./index.js" } } },
  },
});
