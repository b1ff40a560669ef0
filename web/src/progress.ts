/** How far a run has come, in words, as a bar, and as a seedling. */
import type { GrowEvent } from "cloche";
import { element } from "./dom.ts";
import { bytes, duration, large } from "./format.ts";

type Event<Name extends GrowEvent["event"]> = Extract<GrowEvent, { event: Name }>;

/** Screen readers hear of the progress this often. */
const ANNOUNCE_MS = 5000;
/** Words for the phases before the first step. */
const PHASES = {
  reading: "Reading the text",
  tokenizer: "Choosing the units of text",
  encoding: "Turning the text into numbers",
  compiling: "Preparing the device",
};

const status = element("status");
const bar = element<HTMLProgressElement>("progress");
let steps = 1;
let tokensPerStep = 0;
let rate = 0;
let lastStep = { step: 0, at: 0 };
let announced = 0;

/** Before the first step. */
export function showPhase({ phase, done }: Event<"prepare">): void {
  say(`${PHASES[phase]}${done > 0 ? `: ${large(done)} so far` : ""} …`);
  bar.removeAttribute("value");
}

/** The first thing that is known about the model. */
export function showStart(event: Event<"start">): void {
  steps = event.steps;
  rate = 0;
  tokensPerStep = 0;
  lastStep = { step: 0, at: performance.now() };
  grown(0);
  const memory = event.cost.peak_bytes ? `, ${bytes(event.cost.peak_bytes)} of memory` : "";
  element("facts").textContent =
    `${large(event.n_params)} parameters, a vocabulary of ${event.vocab_size.toLocaleString("en")}, ` +
    `${large(event.train_tokens)} tokens to read${memory}.`;
}

/** A step: its speed, and what that means for the rest. */
export function showStep({ step, tokens_per_s }: Event<"step">): void {
  const now = performance.now();
  const seconds = (now - lastStep.at) / 1000 / Math.max(1, step - lastStep.step);
  // A pause is not a slow step.
  if (step > lastStep.step && seconds < 10 * (rate || Infinity)) rate = rate ? 0.95 * rate + 0.05 * seconds : seconds;
  lastStep = { step, at: now };
  tokensPerStep = tokens_per_s;
  const left = rate ? `, ${duration(rate * (steps - step))} left` : "";
  say(`Step ${step.toLocaleString("en")} of ${steps.toLocaleString("en")}, ${large(Math.round(tokensPerStep))} tokens a second${left}`);
  grown(step / steps);
}

/** The end, or why it waits. */
export function showState(sentence: string): void {
  if (!bar.hasAttribute("value")) bar.value = 0;
  announced = 0;
  say(sentence);
}

function grown(share: number): void {
  bar.value = share;
  document.documentElement.style.setProperty("--grown", share.toFixed(3));
}

function say(sentence: string): void {
  status.textContent = sentence;
  if (performance.now() - announced < ANNOUNCE_MS && announced > 0) return;
  announced = performance.now();
  element("announcer").textContent = sentence;
}
