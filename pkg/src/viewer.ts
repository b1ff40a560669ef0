/** Who looks inside models, in the worker. */
import { ClocheError } from "./errors.js";
import type { Turns } from "./pace.js";
import type { NextToken, Probe, ProbeOptions } from "./probes.js";
import { asking } from "./shelf.js";
import type { Pretrain } from "./wasm/engine.js";
import type { Engine, Model } from "./wasm/teach.js";
import type { Tokenizer } from "./wasm/text.js";

/** The model of the moment. */
type Seen = () => { run: Pretrain | Model; tokenizer: Tokenizer };

/** Looks into models. One that is growing is not disturbed: the larger module opens a copy of it on the CPU. */
export class Viewer {
  readonly #open: () => Promise<Engine>;
  #engine: Promise<Engine> | undefined;

  /** `open` loads the module with the stages and opens an engine on the CPU. */
  constructor(open: () => Promise<Engine>) {
    this.#open = open;
  }

  /** What the copies hold: buffers, and their bytes. */
  async memory(): Promise<[buffers: number, bytes: number]> {
    const [buffers, bytes] = (await this.#engine)?.memory() ?? [0, 0];
    return [buffers, bytes];
  }

  /** Reads a text with the weights of this moment. Others wait no longer than it takes to copy them. */
  async look(seen: Seen, turns: Turns, text: string, options: ProbeOptions): Promise<Probe> {
    if ("look" in seen().run) {
      return turns.take(() => {
        const { run, tokenizer } = seen();
        return asking(run, options.adapter ?? true, (model) => read(model as Model, tokenizer, text, options));
      });
    }
    this.#engine ??= this.#open();
    this.#engine.catch(() => (this.#engine = undefined));
    const engine = await this.#engine;
    const { tokenizer } = seen();
    const copy = await engine.openModel(await turns.take(() => seen().run.files()));
    try {
      return await read(copy, tokenizer, text, options);
    } finally {
      copy.free();
    }
  }
}

async function read(model: Model, tokenizer: Tokenizer, text: string, options: ProbeOptions): Promise<Probe> {
  const { attention, nextTokens = 10, lens = false, weights = false, gradients = false, activations = false } = options;
  const ids = tokenizer.encode(text).slice(-model.contextLen);
  if (ids.length === 0) throw new ClocheError("SETTINGS", "text: found nothing to read, expected at least one character");
  const place = attention && [attention.layer, attention.head];
  const sight = await model.look(ids, { ...(place && { attention: place }), lens, weights, gradients, activations });
  const rows = rowsOf(sight.logProbs, model.vocabSize).map((row) => likeliest(row, nextTokens, tokenizer));
  const [ofWeights, ofGradients, ofActivations] = sight.spreads;
  const shares = sight.attention;
  sight.free();
  const [layers = 0, heads = 0] = model.layers;
  return {
    tokens: Array.from(ids, (id) => tokenizer.decode(Uint32Array.of(id))),
    ids,
    layers,
    heads,
    next: rows.at(-1)!,
    ...(attention && { attention: shares }),
    ...(lens && { lens: rows }),
    ...(weights && { weights: ofWeights }),
    ...(gradients && { gradients: ofGradients }),
    ...(activations && { activations: ofActivations }),
  };
}

function rowsOf(values: Float32Array, width: number): Float32Array[] {
  return Array.from({ length: values.length / width }, (_, row) => values.subarray(row * width, (row + 1) * width));
}

function likeliest(logProbs: Float32Array, n: number, tokenizer: Tokenizer): NextToken[] {
  const order = Array.from(logProbs.keys()).sort((a, b) => logProbs[b]! - logProbs[a]!);
  return order.slice(0, n).map((id) => ({ id, token: tokenizer.decode(Uint32Array.of(id)), probability: Math.exp(logProbs[id]!) }));
}
