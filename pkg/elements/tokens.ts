/** `<cloche-tokens>`: what a model reads: a text as the tokens of a tokenizer, their ids, and how each came together. */
import { css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { TokenizerHandle, TokenTrace, TracePiece, TraceToken } from "cloche";
import { ClocheElement } from "./element.js";
import { greenhouse } from "./greenhouse.js";
import { anyOf, anyText, flag, property, setting, tokenizerKind } from "./settings.js";
import type { TokensElement } from "./types.js";

/** More chips than these help nobody. */
const MAX_CHIPS = 300;

/** A token with the piece of text it is in. */
interface Chip {
  token: TraceToken;
  piece: number;
}

/** What is shown: a text, its trace and its size in tokens. */
interface Reading {
  text: string;
  trace: TokenTrace;
  count: number;
  vocabSize: number;
}

export class ClocheTokens extends ClocheElement implements TokensElement {
  static override styles = [
    ClocheElement.styles,
    css`
    .chips { display: flex; flex-wrap: wrap; gap: 0.3em 0.15em; margin: 0.4em 0 0.6em; padding: 0;
      max-height: 24em; overflow: auto; }
    .chips [role="option"] { display: grid; justify-items: center; padding: 0.1em 0.3em; border-radius: 0.3em;
      cursor: pointer;
      border: 1px solid transparent; line-height: 1.35; }
    .chips [aria-selected="true"] { border-color: var(--ink); }
    .chips .id { font-size: 0.68em; color: color-mix(in srgb, var(--ink) 80%, var(--quiet));
      font-variant-numeric: tabular-nums; }
    .t0 { background: color-mix(in srgb, #56b4e9 26%, var(--card)); }
    .t1 { background: color-mix(in srgb, #e69f00 26%, var(--card)); }
    .t2 { background: color-mix(in srgb, #009e73 24%, var(--card)); }
    .t3 { background: color-mix(in srgb, #cc79a7 26%, var(--card)); }
    .lost { outline: 2px dashed var(--danger); outline-offset: -2px; }
    .blank { color: var(--quiet); }
    .merges { list-style: none; margin: 0.3em 0 0; padding: 0; }
    .merges li { display: flex; flex-wrap: wrap; gap: 0.25em; align-items: baseline; padding: 0.15em 0; }
    .merges .symbol { padding: 0 0.3em; border: 1px solid var(--line); border-radius: 0.3em; }
    .merges .new { border-color: var(--accent); background: color-mix(in srgb, var(--accent) 18%, var(--card)); }
  `,
  ];
  static override properties = {
    text: setting(anyText, "Once there was a little seed."),
    kind: setting(tokenizerKind, "bpe:512"),
    data: setting(anyText, "stories"),
    heading: setting(anyText, ""),
    autostart: flag(),
    hide: setting(anyOf("text", "ids", "counts", "merges"), []),
    reading: property<Reading | undefined>(undefined),
    chosen: property(0),
    waiting: property(""),
  };
  declare text: string;
  declare kind: string;
  /** What the tokenizer learns from: `stories`, or the text itself. */
  declare data: string;
  declare heading: string;
  declare autostart: boolean;
  declare protected reading: Reading | undefined;
  /** The chip whose piece is shown in detail. */
  declare protected chosen: number;
  declare protected waiting: string;

  /** Whether somebody has asked; before that, nothing is loaded. */
  #begun = false;
  #asked = 0;

  /** Splits the text, and from then on follows every change of it. */
  async split(): Promise<void> {
    this.#begun = true;
    const asked = ++this.#asked;
    const { text, kind, data } = this;
    this.trouble = "";
    try {
      const tokenizer = await this.#tokenizer(kind, data);
      const [trace, ids] = await Promise.all([tokenizer.trace(text), tokenizer.encode(text)]);
      if (asked !== this.#asked) return;
      this.reading = { text, trace, count: ids.length, vocabSize: tokenizer.vocabSize };
      this.chosen = 0;
      this.send("cloche-tokens", { kind, text, count: ids.length, vocabSize: tokenizer.vocabSize });
    } catch (error) {
      if (asked === this.#asked) this.complain(error);
    }
  }

  async #tokenizer(kind: string, data: string): Promise<TokenizerHandle> {
    this.waiting = "Waking the engine …";
    try {
      return await greenhouse.tokenizer(kind, data, ({ stage, done, total }) => {
        this.waiting = stage === "reading" ? "Reading the text …" : `${done} of ${total ?? "?"} tokens found …`;
      });
    } finally {
      this.waiting = "";
    }
  }

  protected override updated(changed: PropertyValues): void {
    const first = this.autostart && !this.#begun;
    const other = this.#begun && ["text", "kind", "data"].some((name) => changed.has(name));
    if (first || other) void this.split();
  }

  protected override render(): TemplateResult {
    const { reading } = this;
    return html`<figure part="figure">
      ${this.heading ? html`<figcaption part="heading">${this.heading}</figcaption>` : nothing}
      ${this.shows("text")
        ? html`<label class="field">Text <textarea part="text" rows="3" dir="auto" .value=${this.text}
          @input=${this.#onInput}></textarea></label>`
        : nothing}
      ${this.complaints()}
      ${this.#begun || this.autostart
        ? nothing
        : html`<p class="actions"><button class="primary" part="split" @click=${this.split}>Split it</button></p>`}
      ${this.waiting ? html`<p class="note" role="status">${this.waiting}</p>` : nothing}
      ${reading ? this.#read(reading) : nothing}
    </figure>`;
  }

  #read(reading: Reading): TemplateResult {
    const chips = chipsOf(reading.trace);
    const chosen = chips[Math.min(this.chosen, chips.length - 1)];
    return html`${this.shows("counts") ? html`<p class="note" part="counts" role="status">${counts(reading)}</p>` : nothing}
      <div class="chips" part="tokens" role="listbox" aria-label=${`${this.heading || "Text"} as tokens`} dir="auto"
        aria-orientation="horizontal" @keydown=${this.#onKey}>
        ${chips.slice(0, MAX_CHIPS).map((chip, i) => this.#chip(chip, i))}
      </div>
      ${chips.length > MAX_CHIPS ? html`<p class="note">The first ${MAX_CHIPS} tokens are shown.</p>` : nothing}
      ${this.shows("merges") && chosen ? this.#merges(reading.trace, chosen) : nothing}`;
  }

  #chip({ token, piece }: Chip, i: number): TemplateResult {
    const selected = i === this.chosen;
    const lost = token.id < 0;
    const choose = () => (this.chosen = i);
    return html`<span role="option" part="token" class=${lost ? "lost" : `t${i % 4}`} data-piece=${piece}
      aria-selected=${selected}
        tabindex=${selected ? 0 : -1} title=${lost ? "not in the vocabulary: left out" : nothing} @click=${choose}>
      <span>${visible(token)}</span>
      ${this.shows("ids") ? html`<span class="id">${lost ? "none" : token.id}</span>` : nothing}
    </span>`;
  }

  #merges({ pieces }: TokenTrace, { piece }: Chip): TemplateResult {
    const { text, symbols, steps, tokens } = pieces[piece]!;
    if (steps.length === 0) {
      const rest =
        tokens.length === 0
          ? "is not in the vocabulary and is left out"
          : `stays as it is: ${tokens.length === 1 ? "one token" : `${tokens.length} tokens`}, nothing merges`;
      return html`<p class="note" part="merges">“${text}” ${rest}.</p>`;
    }
    return html`<div part="merges">
      <p class="note">How “${text}” comes together: of all pairs that stand side by side, the one learnt first merges
        first.</p>
      <ol class="merges">
        <li>${symbols.map((symbol) => html`<span class="symbol">${symbol}</span>`)}</li>
        ${steps.map(
          (step) => html`<li>
          ${step.symbols.map((symbol) => html`<span
            class="symbol ${symbol === step.left + step.right ? "new" : ""}">${symbol}</span>`)}
          <span class="note">merge ${step.rank + 1}: ${step.left} + ${step.right}</span>
        </li>`,
        )}
      </ol>
    </div>`;
  }

  #onInput(event: Event): void {
    this.text = (event.target as HTMLTextAreaElement).value;
    this.send("cloche-text", this.text);
  }

  async #onKey(event: KeyboardEvent): Promise<void> {
    const last = Math.min(MAX_CHIPS, chipsOf(this.reading!.trace).length) - 1;
    const moves: Record<string, number> = {
      ArrowLeft: this.chosen - 1,
      ArrowRight: this.chosen + 1,
      Home: 0,
      End: last,
    };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.chosen = Math.min(last, Math.max(0, to));
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
  }
}

/** The tokens in order; a character that no token covers stands there as lost. */
function chipsOf({ pieces }: TokenTrace): Chip[] {
  return pieces.flatMap((tokens, piece) => withLost(tokens).map((token) => ({ token, piece })));
}

/** The tokens of a piece. Fewer symbols than characters: the vocabulary does not have them all. */
function withLost({ text, symbols, tokens }: TracePiece): TraceToken[] {
  if (symbols.length >= Array.from(text).length) return tokens;
  const lost = (part: string) => Array.from(part, (letter) => ({ id: -1, token: letter, text: letter }));
  let at = 0;
  const all = tokens.flatMap((token) => {
    const found = Math.max(at, text.indexOf(token.text, at));
    const before = lost(text.slice(at, found));
    at = found + token.text.length;
    return [...before, token];
  });
  return [...all, ...lost(text.slice(at))];
}

/** A token with its blanks made visible; of one that is a part of a character, what the vocabulary calls it. */
function visible({ text, token }: TraceToken): TemplateResult[] {
  const shown = text.includes("\ufffd") || text === "" ? token : text;
  return Array.from(shown, (letter) => {
    const blank = { " ": "·", "\n": "⏎", "\t": "⇥" }[letter];
    return blank ? html`<span class="blank">${blank}</span>` : html`${letter}`;
  });
}

function counts({ text, count, vocabSize }: Reading): string {
  const characters = Array.from(text).length;
  const bytes = new TextEncoder().encode(text).length;
  const ratio = count > 0 ? ` ${(bytes / count).toFixed(2)} bytes a token.` : "";
  const all = vocabSize.toLocaleString("en");
  return `${characters} characters, ${bytes} bytes, ${count} tokens of a vocabulary of ${all}.${ratio}`;
}
