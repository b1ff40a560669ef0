/** Writes a page with the whole of Cloche in it: one file, to be sent by mail or opened from a disk. */
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

/** @param {string} file */
const beside = (file) => new URL(file, import.meta.url);
const entryPoints = [beside("main.js").pathname];
const { outputFiles } = await build({ entryPoints, bundle: true, minify: true, format: "iife", write: false });
const script = `<script>${outputFiles[0]?.text}</script>`;
const page = readFileSync(beside("page.html"), "utf8");
writeFileSync(beside("index.html"), page.replace("<!-- the script -->", () => script));
