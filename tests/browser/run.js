/**
 * Runs the checks in the stacks named on the command line, in all of them where none is named:
 *
 *     node tests/browser/run.js [chromium] [firefox] [node] [page] [teach] [packaging] [--only WORDS]
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { checkPackaging } from "./packaging.js";
import { checkPage } from "./page.js";
import { ISOLATED, POLICY, serveFolders } from "./server.js";
import { inChromium, inFirefox, inNode } from "./stacks.js";
import { checkTeaching } from "./teach.js";

/**
 * The engine's checks and the stages run where pages are isolated, and have threads; the site and the elements where they are not.
 * @type {Record<string, (origin: string, only: string) => AsyncGenerator<import("./stacks.js").Outcome>>}
 */
const STACKS = {
  chromium: inChromium,
  firefox: inFirefox,
  node: inNode,
  page: checkPage,
  teach: checkTeaching,
  packaging: checkPackaging,
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string", default: "" } },
});
const names = positionals.length > 0 ? positionals : Object.keys(STACKS);
const unknown = names.filter((name) => !STACKS[name]);
if (unknown.length > 0) throw new Error(`no such stack: ${unknown}; there are ${Object.keys(STACKS)}`);

/** @param {string} folder */
const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
const folders = {
  "/checks/": at("checks"),
  "/wasm/": at("../../target/wasm-checks"),
  "/pkg/": at("../../pkg/dist"),
  "/": at("../../web/dist"),
};
const plain = await serveFolders(folders);
const isolated = await serveFolders(folders, POLICY, ISOLATED);
let passed = 0;
let failed = 0;
for (const name of names) {
  let here = { passed: 0, failed: 0 };
  try {
    const { origin } = ["page", "packaging"].includes(name) ? plain : isolated;
    for await (const outcome of /** @type {any} */ (STACKS[name])(origin, values.only)) {
      const { error, note, ms } = outcome;
      here[error ? "failed" : "passed"] += 1;
      const remark = error ?? note ?? "";
      console.log(`${name}: ${error ? "FAILED" : "ok"} ${outcome.name} (${ms.toFixed(0)} ms) ${remark}`.trimEnd());
    }
  } catch (error) {
    here.failed += 1;
    console.log(`${name}: FAILED ${error}`);
  }
  console.log(`${name}: ${here.passed} passed, ${here.failed} failed`);
  passed += here.passed;
  failed += here.failed;
}
plain.close();
isolated.close();
console.log(`total: ${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
