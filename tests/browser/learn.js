/**
 * Grows a model in headless Chromium, as a page would with the package, and tells how the held-out loss falls:
 *
 *     cargo xtask start --no-serve
 *     node tests/browser/learn.js --data FILE [--preset nano] [--steps 2000] [--seed 1337] [--device cpu] [--json]
 *
 * Weights, batches and the windows of evaluations follow from the seed as they do on the command line, and both look
 * every 250 steps, so the curve should be that of `cloche train` with the same options. `--json` prints the events, one
 * a line, in that command's words.
 */
import { stat } from "node:fs/promises";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { serveFolders } from "./server.js";
import { launchChromium } from "./stacks.js";

/** @typedef {import("../../pkg/src/protocol.js").GrowEvent} GrowEvent */

const { values } = parseArgs({
  options: {
    data: { type: "string" },
    preset: { type: "string", default: "nano" },
    steps: { type: "string", default: "2000" },
    seed: { type: "string", default: "1337" },
    device: { type: "string", default: "cpu" },
    json: { type: "boolean", default: false },
  },
});
if (!values.data || !(await stat(values.data)).isFile()) throw new Error("--data must name a text file");

/** What the page is told, besides the text. */
const asked = { device: values.device, preset: values.preset, steps: Number(values.steps), seed: Number(values.seed) };

/** Runs in the page. @param {typeof asked} asked */
async function grow({ device, ...options }) {
  const { Cloche } = await import(/** @type {string} */ ("/pkg/index.js"));
  const { report } = /** @type {any} */ (globalThis);
  const data = await (await fetch("/text")).text();
  const cloche = await Cloche.create({ device });
  for await (const event of cloche.grow({ data, ...options })) await report(event);
  cloche.dispose();
}

/** Steps and held-out losses, as they come. @type {[number, number][]} */
const curve = [];
let tokensPerStep = 0;
/** The latest speed and time left, in words. */
let pace = "";

/** @param {string} text shown on a terminal until the next line */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** @param {GrowEvent} event */
function tell(event) {
  if (values.json) return console.log(JSON.stringify(event));
  progress("");
  switch (event.event) {
    case "start":
      tokensPerStep = event.tokens_per_step;
      console.log(`${event.n_params} parameters, vocabulary of ${event.vocab_size}, ${tokensPerStep} tokens a step`);
      break;
    case "step":
      pace = `, ${event.tokens_per_s.toFixed(0)} tokens/s, ${(event.seconds_left / 60).toFixed(1)} min left`;
      progress(`step ${event.step} of ${asked.steps}: loss ${event.loss.toFixed(4)}${pace}`);
      break;
    case "eval":
      curve.push([event.step, event.val_loss]);
      console.log(
        `step ${event.step}: train loss ${event.train_loss.toFixed(4)}, val loss ${event.val_loss.toFixed(4)}${pace}`,
      );
      break;
    case "nonfinite":
      console.log(`step ${event.step}: the gradient is not finite, the step is skipped`);
      break;
    case "done": {
      const speed = (event.step * tokensPerStep) / event.seconds;
      const took = `${event.seconds.toFixed(0)} s in them, ${speed.toFixed(0)} tokens/s`;
      console.log(`${event.reason} after ${event.step} steps, ${took}`);
    }
  }
}

/** The curve as a table in Markdown. */
function table() {
  const row = (/** @type {(string | number)[]} */ cells) => `| ${cells.join(" | ")} |`;
  return [
    row(["step", ...curve.map(([step]) => step)]),
    row(["---", ...curve.map(() => "---")]),
    row(["validation loss", ...curve.map(([, loss]) => loss.toFixed(3))]),
  ].join("\n");
}

/** @param {string} folder */
const at = (folder) => fileURLToPath(new URL(folder, import.meta.url));
const server = await serveFolders({ "/checks/": at("checks"), "/pkg/": at("../../pkg/dist"), "/text": values.data });
const browser = await launchChromium();
try {
  const page = await browser.newPage();
  await page.exposeFunction("report", tell);
  await page.goto(`${server.origin}/checks/empty.html`);
  await page.evaluate(grow, asked);
  if (!values.json) console.log(`\n${table()}\n\nChromium ${browser.version()}, load ${loadavg()[0]?.toFixed(1)}`);
} finally {
  await browser.close();
  server.close();
}
