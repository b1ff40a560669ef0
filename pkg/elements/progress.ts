/** What a run will take, how far it has come, and how it ended, in words. */
import type { Estimate, GrowEvent } from "cloche";
import { bytes, duration, large } from "./format.js";
import type { RunRecord } from "./greenhouse.js";

const PHASES = {
  reading: "Reading the text",
  tokenizer: "Choosing the units of text",
  encoding: "Turning the text into numbers",
  compiling: "Preparing the device",
};

const UNITS: [number, string][] = [
  [1e15, "quadrillion"],
  [1e12, "trillion"],
  [1e9, "billion"],
  [1e6, "million"],
];

export const PAUSED = "Paused. The model can be tried and saved meanwhile.";

/** Before it begins. */
export function prospectOf({ parameters, tokensPerStep, flopsPerStep, peakBytes, seconds }: Estimate, steps: number): string {
  const [tokens, flops] = [steps * tokensPerStep, steps * flopsPerStep];
  const [unit, name] = UNITS.find(([unit]) => flops >= unit) ?? [1, ""];
  const work = `${Math.round(flops / unit).toLocaleString("en")} ${name} sums and products`;
  const time = seconds === undefined ? "" : `, and about ${duration(Math.max(1, seconds))} here`;
  return `${large(parameters)} parameters will read ${large(tokens)} tokens: ${work}, ${bytes(peakBytes)} of memory${time}.`;
}

/** While it goes on. */
export function statusOf(run: RunRecord | undefined): string {
  if (!run?.phase) return "Waking the engine …";
  if (!run.start) {
    const { phase, done } = run.phase;
    const total = phase === "compiling" ? run.phase.total : undefined;
    const far = total === undefined ? `${large(done)} so far` : `${done} of ${total} kernels`;
    return `${PHASES[phase]}${done > 0 ? `: ${far}` : ""} …`;
  }
  const { steps } = run.start;
  const { step = 0, tokens_per_s = 0, seconds_left = 0 } = run.latest ?? {};
  const speed = step > 0 ? `, ${large(Math.round(tokens_per_s))} tokens a second` : "";
  const left = step > 0 && step < steps ? `, ${duration(seconds_left)} left` : "";
  return `Step ${step.toLocaleString("en")} of ${steps.toLocaleString("en")}${speed}${left}`;
}

/** What is known of its model, and where it is computed. */
export function factsOf({ start, skipped }: RunRecord, device = "no device any more"): string {
  const { n_params, vocab_size, train_tokens, peak_bytes } = start!;
  const facts = [
    `${large(n_params)} parameters`,
    `a vocabulary of ${vocab_size.toLocaleString("en")}`,
    `${large(train_tokens)} tokens of text`,
    `${bytes(peak_bytes)} of memory`,
  ];
  const note = skipped ? ` Step ${skipped.step} gave no finite number and was skipped.` : "";
  return `${facts.join(", ")}. Computing on ${device}.${note}`;
}

/** In the end. */
export function outcomeOf({ step, seconds, reason }: Extract<GrowEvent, { event: "done" }>): string {
  const done = `${step.toLocaleString("en")} steps in ${duration(seconds)}`;
  const good = "The last good weights are kept.";
  if (reason === "diverged") return `Stopped after ${done}: nothing finite came any more. ${good}`;
  return reason === "stopped" ? `Stopped after ${done}. The model stays.` : `Grown: ${done}.`;
}
