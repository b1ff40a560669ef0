/**
 * Takes the comments out of what was compiled: a page loads it as it is, and reads them in the declarations. Those that speak
 * to bundlers stay.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { transformSync } from "esbuild";

const dist = new URL("dist/", import.meta.url);
for (const file of readdirSync(dist).filter((file) => file.endsWith(".js"))) {
  const path = new URL(file, dist);
  writeFileSync(path, transformSync(readFileSync(path, "utf8"), { target: "es2022" }).code);
}
