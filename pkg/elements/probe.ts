/** What the elements that look into a model ask, and what they are told. */

/** What may be asked about a text. */
export interface ProbeOptions {
  attention?: { layer: number; head: number };
  /** So many of the likeliest next tokens. */
  nextTokens?: number;
}

export interface Probe {
  tokens: string[];
  /** `(T, T)`, row by row: how much the token of the row looks at each token. */
  attention?: Float32Array;
  next?: NextToken[];
}

export interface NextToken {
  token: string;
  id: number;
  probability: number;
}
