/** Who looks inside models, in the worker. */
import { ClocheError } from "./errors.js";
import type { NextToken, Probe, ProbeOptions } from "./probes.js";
import type { Pretrain } from "./wasm/engine.js";
import type { Engine, Model } from "./wasm/teach.js";
import type { Tokenizer } from "./wasm/text.js";

/** Looks into models. One that is growing is not disturbed: the larger module opens a copy of it on the CPU. */
export class Viewer {
  readonly #open: () => Promise<Engine>;
  #engine: Promise<Engine> | undefined;

  /** `open` loads the module with the stages and opens an engine on the CPU. */
  constructor(open: () => Promise<Engine>) {
    this.#open = open;
  }

  /** Reads a text with the weights of this moment. */
  async look(run: Pretrain | Model, tokenizer: Tokenizer, text: string, options: ProbeOptions): Promise<Probe> {
    const { attention, nextTokens = 10, lens = false, weights = false, gradients = false, activations = false } = options;
    const ids = tokenizer.encode(text).slice(-run.contextLen);
    if (ids.length === 0) throw new ClocheError("SETTINGS", "text: found nothing to read, expected at least one character");
    const [model, done] = await this.#visible(run);
    try {
      const place = attention && [attention.layer, attention.head];
      const sight = await model.look(ids, { ...(place && { attention: place }), lens, weights, gradients, activations });
      const rows = rowsOf(sight.logProbs, model.vocabSize).map((row) => likeliest(row, nextTokens, tokenizer));
      const [ofWeights, ofGradients, ofActivations] = sight.spreads;
      const [layers = 0, heads = 0] = model.layers;
      const seen = sight.attention;
      sight.free();
      return {
        tokens: Array.from(ids, (id) => tokenizer.decode(Uint32Array.of(id))),
        ids,
        layers,
        heads,
        next: rows.at(-1)!,
        ...(attention && { attention: seen }),
        ...(lens && { lens: rows }),
        ...(weights && { weights: ofWeights }),
        ...(gradients && { gradients: ofGradients }),
        ...(activations && { activations: ofActivations }),
      };
    } finally {
      done();
    }
  }

  /** A model that can be looked into, and what to call afterwards. */
  async #visible(run: Pretrain | Model): Promise<[Model, () => void]> {
    if ("look" in run) return [run, () => {}];
    const engine = await (this.#engine ??= this.#open());
    const copy = await engine.openModel(await run.files());
    return [copy, () => copy.free()];
  }
}

function rowsOf(values: Float32Array, width: number): Float32Array[] {
  return Array.from({ length: values.length / width }, (_, row) => values.subarray(row * width, (row + 1) * width));
}

function likeliest(logProbs: Float32Array, n: number, tokenizer: Tokenizer): NextToken[] {
  const order = Array.from(logProbs.keys()).sort((a, b) => logProbs[b]! - logProbs[a]!);
  return order.slice(0, n).map((id) => ({ id, token: tokenizer.decode(Uint32Array.of(id)), probability: Math.exp(logProbs[id]!) }));
}
