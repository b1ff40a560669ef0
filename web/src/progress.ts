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
let announced = -Infinity;

/** Before the first step. */
export function showPhase({ phase, done }: Event<"prepare">): void {
  say(`${PHASES[phase]}${done > 0 ? `: ${large(done)} so far` : ""} …`);
  bar.removeAttribute("value");
}

/** The first thing that is known about the model. */
export function showStart(event: Event<"start">): void {
  steps = event.steps;
  grown(0);
  element("facts").textContent =
    `${large(event.n_params)} parameters, a vocabulary of ${event.vocab_size.toLocaleString("en")}, ` +
    `${large(event.train_tokens)} tokens of text, ${bytes(event.peak_bytes)} of memory.`;
}

/** A step: its speed, and what that means for the rest. */
export function showStep({ step, tokens_per_s, seconds_left }: Event<"step">): void {
  const left = step < steps ? `, ${duration(seconds_left)} left` : "";
  const [now, all] = [step.toLocaleString("en"), steps.toLocaleString("en")];
  say(`Step ${now} of ${all}, ${large(Math.round(tokens_per_s))} tokens a second${left}`);
  grown(step / steps);
}

/** The end, or why it waits. */
export function showState(sentence: string): void {
  if (!bar.hasAttribute("value")) bar.value = 0;
  announced = -Infinity;
  say(sentence);
}

function grown(share: number): void {
  bar.value = share;
  document.documentElement.style.setProperty("--grown", share.toFixed(3));
}

function say(sentence: string): void {
  status.textContent = sentence;
  if (performance.now() - announced < ANNOUNCE_MS) return;
  announced = performance.now();
  element("announcer").textContent = sentence;
}
