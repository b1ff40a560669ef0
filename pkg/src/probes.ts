/** Looking inside a model: what a page may ask, and what it sees. */

/** What may be asked about a text. */
export interface ProbeOptions {
  /** How much each token looks at each, in a layer and one of its heads, both counted from 0. */
  attention?: { layer: number; head: number };
  /** So many of the likeliest next tokens. @default 10 */
  nextTokens?: number;
  /** What each layer would say, were it the last one: the logit lens. */
  lens?: boolean;
  /** How the numbers that learn are spread. */
  weights?: boolean;
  /** How the gradients of this text's mean loss are spread; the text needs two tokens. */
  gradients?: boolean;
  /** How what layers add up to is spread. */
  activations?: boolean;
  /** Whether the adapter beside a model counts; without one it makes no difference. @default true */
  adapter?: boolean;
}

/** A token that may come next. */
export interface NextToken {
  token: string;
  id: number;
  probability: number;
}

/** How the numbers of a tensor are spread. */
export interface Spread {
  /** As Hugging Face names it; `embedding`, `h.0`, `h.1` … and `hidden` are activations. */
  name: string;
  /** The square root of the sum of squares. */
  norm: number;
  low: number;
  high: number;
  /** How many lie in each of 32 equal parts of what is between `low` and `high`. */
  counts: number[];
}

/** What a look shows. */
export interface Probe {
  /** The tokens that were read: the text's last ones, where it is longer than the context. */
  tokens: string[];
  ids: Uint32Array;
  /** What there is to look at. */
  layers: number;
  heads: number;
  /** The likeliest first. */
  next: NextToken[];
  /** `(T, T)`, row by row: how much the token of the row looks at each token. */
  attention?: Float32Array;
  /** For the embedding and each layer the likeliest tokens. */
  lens?: NextToken[][];
  weights?: Spread[];
  gradients?: Spread[];
  activations?: Spread[];
}
