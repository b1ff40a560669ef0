/** The tokenizers that a page holds in the worker, by number. */
import { learnTokenizer, type Source } from "./corpus.js";
import { ClocheError } from "./errors.js";
import { breathe, paced } from "./pace.js";
import type { TokenizerEvent, Vocabulary } from "./tokenizers.js";
import type { Tokenizer } from "./wasm/text.js";

type TextModule = typeof import("./wasm/text.js");

export class Vocabularies {
  readonly #module: () => Promise<TextModule>;
  readonly #kept = new Map<number, Tokenizer>();
  #next = 1;

  constructor(module: () => Promise<TextModule>) {
    this.#module = module;
  }

  async *train(
    source: Source,
    kind: string,
    signal: AbortSignal,
    report: (event: TokenizerEvent) => void,
  ): AsyncGenerator<TokenizerEvent> {
    const learning = paced(learnTokenizer(source, await this.#module(), { kind, chatTokens: false, report }, signal));
    for (;;) {
      const { value, done } = await learning.next();
      if (done) {
        // Merging cannot be interrupted: whoever gave up meanwhile will not free what comes of it.
        await breathe();
        if (signal.aborted) return value.free();
        return yield this.#keep(value);
      }
      if (value.phase === "reading") yield { stage: "reading", done: value.done, total: null };
    }
  }

  async load(json: string, config?: string): Promise<Vocabulary> {
    return this.#keep((await this.#module()).Tokenizer.fromJson(json, config));
  }

  get(handle: number): Tokenizer {
    const found = this.#kept.get(handle);
    if (found) return found;
    throw new ClocheError("DISPOSED", "dispose() has been called on this tokenizer");
  }

  free(handle: number): void {
    this.#kept.get(handle)?.free();
    this.#kept.delete(handle);
  }

  #keep(tokenizer: Tokenizer): Vocabulary {
    const handle = this.#next++;
    this.#kept.set(handle, tokenizer);
    const { kind, vocabSize } = tokenizer;
    return { handle, kind, vocabSize };
  }
}
