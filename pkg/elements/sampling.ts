/** How the next token is chosen: the controls, and what they do to the probabilities. */
import { html, nothing, type TemplateResult } from "lit";
import type { SamplingOptions } from "cloche";
import { anyOf, integer, number, setting } from "./settings.js";

/** The controls of an element that samples. */
export type Sampling = Required<Pick<SamplingOptions, "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty">>;

/** As properties of an element; each has an attribute. */
export const samplingSettings = {
  temperature: setting(number(0, 5), 0.8),
  topK: setting(integer(0, 100_000), 0, "top-k"),
  topP: setting(number(0, 1), 1, "top-p"),
  minP: setting(number(0, 1), 0, "min-p"),
  repetitionPenalty: setting(number(0.1, 10), 1, "repetition-penalty"),
};

/** The names by which controls are hidden. */
export const SAMPLING_CONTROLS = ["temperature", "top-k", "top-p", "min-p", "repetition-penalty"] as const;
export const hidesSampling = (...others: string[]) => setting(anyOf<string>(...SAMPLING_CONTROLS, ...others), []);

interface Control {
  name: keyof Sampling;
  hidden: (typeof SAMPLING_CONTROLS)[number];
  title: string;
  about: string;
  min: number;
  max: number;
  step: number;
  /** The value at which it does nothing. */
  off: number;
}

const CONTROLS: Control[] = [
  {
    name: "temperature",
    hidden: "temperature",
    title: "Temperature",
    about: "below 1 safer, above 1 wilder",
    min: 0,
    max: 2,
    step: 0.05,
    off: 1,
  },
  { name: "topK", hidden: "top-k", title: "Top-k", about: "only the k likeliest", min: 0, max: 50, step: 1, off: 0 },
  {
    name: "topP",
    hidden: "top-p",
    title: "Top-p",
    about: "only the likeliest that together reach p",
    min: 0.05,
    max: 1,
    step: 0.05,
    off: 1,
  },
  {
    name: "minP",
    hidden: "min-p",
    title: "Min-p",
    about: "only those near the likeliest",
    min: 0,
    max: 0.5,
    step: 0.01,
    off: 0,
  },
  {
    name: "repetitionPenalty",
    hidden: "repetition-penalty",
    title: "Repetition penalty",
    about: "what was said counts less",
    min: 1,
    max: 2,
    step: 0.05,
    off: 1,
  },
];

/** What an element has chosen. */
export function samplingOf({ temperature, topK, topP, minP, repetitionPenalty }: Sampling): Sampling {
  return { temperature, topK, topP, minP, repetitionPenalty };
}

/** Sliders for the controls that are shown; `choose` hears of each change. */
export function samplingControls(
  chosen: Sampling,
  shows: (control: string) => boolean,
  choose: (change: Partial<Sampling>) => void,
): TemplateResult | typeof nothing {
  const shown = CONTROLS.filter((control) => shows(control.hidden));
  if (shown.length === 0) return nothing;
  return html`<div class="grid" part="sampling">
    ${shown.map(({ name, title, about, min, max, step, off }) => {
      const value = chosen[name];
      const change = (event: Event) => choose({ [name]: Number((event.target as HTMLInputElement).value) });
      return html`<label class="field" title=${about}>${title} <span
        class="value">${value === off && name !== "temperature" ? "off" : value}</span>
        <input type="range" name=${name} min=${min} max=${max} step=${step} .value=${String(value)}
          aria-description=${about} @input=${change} />
      </label>`;
    })}
  </div>`;
}

/**
 * Probabilities of tokens, likeliest first, after temperature, top-k, top-p and min-p, in the engine's order. Tokens that
 * are not in the list count as nothing.
 */
export function reshaped(probabilities: number[], { temperature, topK, topP, minP }: Sampling): number[] {
  if (temperature === 0) return probabilities.map((_, i) => (i === 0 ? 1 : 0));
  const weights = normalized(probabilities.map((p) => p ** (1 / temperature)));
  const first = weights.map((p, i) => (topK > 0 && i >= topK ? 0 : p));
  const renormalized = normalized(first);
  let before = 0;
  const nucleus = renormalized.map((p) => {
    const kept = before < topP ? p : 0;
    before += p;
    return kept;
  });
  const likeliest = nucleus[0] ?? 0;
  return normalized(nucleus.map((p) => (p < minP * likeliest ? 0 : p)));
}

function normalized(weights: number[]): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => (sum > 0 ? weight / sum : 0));
}
