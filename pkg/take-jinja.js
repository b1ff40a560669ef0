/** The one library that the package takes along, so that it depends on none: it renders chat templates from elsewhere. */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const library = join(dirname(createRequire(import.meta.url).resolve("@huggingface/jinja")), "..");
const [license, code] = ["LICENSE", "dist/index.js"].map((file) => readFileSync(join(library, file), "utf8"));
writeFileSync(new URL("dist/jinja.js", import.meta.url), `/*!\n@huggingface/jinja\n${license}*/\n${code}`);
