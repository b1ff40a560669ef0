/**
 * Takes comments and blanks out of what was compiled: a page loads it as it is, and nobody reads them there. Names stay, for
 * traces; files with comments that speak to bundlers keep those, and their blanks.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { transformSync } from "esbuild";

const dist = new URL("dist/", import.meta.url);
for (const file of readdirSync(dist).filter((file) => file.endsWith(".js"))) {
  const path = new URL(file, dist);
  const { code } = transformSync(readFileSync(path, "utf8"), { target: "es2022" });
  const bundlers = /\/\* *(webpack|turbopack|@vite)/.test(code);
  const short = { minifyWhitespace: true, minifySyntax: true, target: "es2022" };
  writeFileSync(path, bundlers ? code : transformSync(code, short).code);
}
