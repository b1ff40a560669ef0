/** What a run will take, as far as it is known before it begins: its size, its arithmetic, and the time from earlier
  runs. */
import type { Preset } from "cloche";

/** The sizes of the presets, as the engine has them, and the rows of a step. */
const SIZES: Record<Preset, Size> = {
  tiny: { layers: 2, heads: 4, width: 64, context: 64, rows: 12, weights: 12 * 64 ** 2 },
  nano: { layers: 4, heads: 4, width: 128, context: 64, rows: 12, weights: 12 * 128 ** 2 },
  mini: { layers: 6, heads: 6, width: 384, context: 256, rows: 64, weights: 12 * 384 ** 2 },
  gpt2: { layers: 12, heads: 12, width: 768, context: 1024, rows: 12, weights: 12 * 768 ** 2 },
  "llama-tiny": { layers: 2, heads: 4, width: 64, context: 64, rows: 12, weights: 4 * 64 ** 2 + 3 * 64 * 192 },
  "llama-nano": { layers: 4, heads: 4, width: 128, context: 64, rows: 12, weights: 4 * 128 ** 2 + 3 * 128 * 352 },
  "llama-mini": {
    layers: 6,
    heads: 6,
    width: 384,
    context: 256,
    rows: 64,
    weights: (8 / 3) * 384 ** 2 + 3 * 384 * 1024,
  },
};

interface Size extends Shape {
  width: number;
  context: number;
  rows: number;
  /** Of a layer. */
  weights: number;
}

/** What a model consists of, as far as one can look into it. */
export interface Shape {
  layers: number;
  heads: number;
}

/** What a run is asked to be. */
export interface Prospect {
  preset: Preset;
  tokenizer: string;
  steps: number;
  device: string;
}

/** What is known of a run before it begins. */
export interface Estimate {
  params: number;
  tokens: number;
  flops: number;
  /** Where a run on this device has been timed before. */
  seconds?: number;
}

export function shapeOf(preset: Preset): Shape {
  return SIZES[preset];
}

/** What a run will take. `vocabulary` is that of the tokenizer, as near as can be said before it is trained. */
export function estimate({ preset, tokenizer, steps, device }: Prospect): Estimate {
  const { layers, width, context, rows, weights } = SIZES[preset];
  const vocabulary = tokenizer === "char" ? 70 : tokenizer === "byte" ? 257 : Number(tokenizer.slice(4));
  const matrices = layers * weights + vocabulary * width;
  const tokens = steps * rows * context;
  // Forward once, backward twice; two operations for each weight, and attention besides (Kaplan et al. 2020).
  const flops = 6 * tokens * (matrices + layers * context * width);
  const speed = speeds.get(device) ?? 0;
  return { params: matrices + context * width, tokens, flops, ...(speed > 0 && { seconds: flops / speed }) };
}

/** Remembers how fast a device was: the arithmetic of a run over its seconds. */
export function noteSpeed(device: string, flops: number, seconds: number): void {
  if (seconds > 0) speeds.set(device, flops / seconds);
}

/** Operations a second, by the device asked for, as far as this page has measured them. */
const speeds = new Map<string, number>();
