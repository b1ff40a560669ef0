/** `<cloche-prompt>`: continues a text with the model of the page, also while it is still growing. */
import { css, html, nothing, type TemplateResult } from "lit";
import { ClocheElement } from "./element.js";
import { greenhouse } from "./greenhouse.js";
import { hidesSampling, samplingControls, samplingOf, samplingSettings, type Sampling } from "./sampling.js";
import { anyText, integer, property, setting } from "./settings.js";
import type { PromptElement } from "./types.js";

/** Seeds that follow from each other, so that the same first one gives the same answers. */
const SEED_STEP = 7919;

/** A continuation as far as it has come, and its log-probability, in nats. */
interface Saying {
  text: string;
  tokens: number;
  logProb: number;
}

export interface ClochePrompt extends Sampling {}
export class ClochePrompt extends ClocheElement implements PromptElement {
  static override styles = [
    ClocheElement.styles,
    css`
    .answers { list-style: none; margin: 0.8em 0 0; padding: 0; display: grid; gap: 0.8em;
      grid-template-columns: repeat(auto-fit, minmax(min(16em, 100%), 1fr)); }
    .answers li { padding: 0.8em 1em; background: var(--card); border-left: 3px solid var(--accent); border-radius: 0
      var(--radius) var(--radius) 0; }
    .answers .beginning { color: var(--quiet); }
    .short > input { max-width: 8em; }
  `,
  ];
  static override properties = {
    ...samplingSettings,
    text: setting(anyText, "Once there was"),
    answers: setting(integer(1, 8), 1),
    maxTokens: setting(integer(1, 10_000), 100, "max-tokens"),
    seed: setting<number | undefined>(integer(0, Number.MAX_SAFE_INTEGER), undefined),
    hide: hidesSampling("text", "answers", "max-tokens", "note"),
    said: property<Saying[]>([]),
  };
  declare text: string;
  declare answers: number;
  declare maxTokens: number;
  /** Without one, each press of the button gives other answers. */
  declare seed: number | undefined;
  /** The continuations as far as they have come. */
  declare protected said: Saying[];

  #beginning = "";
  #speaking: AbortController | undefined;

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.stop();
  }

  /** Continues the text, as the button does. */
  async speak(): Promise<void> {
    const cloche = greenhouse.cloche;
    if (!cloche || !greenhouse.model || this.#speaking) return;
    const speaking = new AbortController();
    this.#speaking = speaking;
    this.trouble = "";
    this.#beginning = this.text;
    this.said = Array.from({ length: this.answers }, () => ({ text: "", tokens: 0, logProb: 0 }));
    const { maxTokens, text, seed = Math.floor(Math.random() * 2 ** 31) } = this;
    const settings = { ...samplingOf(this), maxTokens, adapter: greenhouse.adapter, signal: speaking.signal };
    const answer = async (i: number) => {
      for await (const piece of cloche.generateTokens(text, { ...settings, seed: (seed + i * SEED_STEP) % Number.MAX_SAFE_INTEGER })) {
        const { text, tokens, logProb } = this.said[i]!;
        const nats = piece.tokens.reduce((sum, token) => sum + token.logProb, logProb);
        this.said = this.said.with(i, { text: text + piece.text, tokens: tokens + piece.tokens.length, logProb: nats });
      }
    };
    try {
      await Promise.all(this.said.map((_, i) => answer(i)));
      const answers = this.said.map((saying) => saying.text);
      this.send("cloche-answer", { text, answers, logProbs: this.said.map(({ logProb }) => logProb) });
    } catch (error) {
      if (!speaking.signal.aborted) this.complain(error);
      speaking.abort();
    } finally {
      this.#speaking = undefined;
      this.requestUpdate();
    }
  }

  /** Ends the answers where they are. */
  stop(): void {
    this.#speaking?.abort();
  }

  protected override render(): TemplateResult {
    const speaking = this.#speaking !== undefined;
    return html`<form part="form" @submit=${this.#onSubmit}>
        ${this.shows("text")
          ? html`<label class="field">Your beginning <textarea part="text" rows="2" .value=${this.text}
            @input=${this.#onText}></textarea></label>`
          : nothing}
        ${samplingControls(
          this,
          (control) => this.shows(control),
          (change) => this.#choose(change),
        )}
        <div class="grid">
          ${this.shows("max-tokens") ? this.#number("maxTokens", "Tokens", 10_000) : nothing}
          ${this.shows("answers") ? this.#number("answers", "Answers at once", 8) : nothing}
        </div>
        <div class="actions">
          <button type="submit" part="continue"
            ?disabled=${speaking || !greenhouse.model}>${this.said.length > 0 ? "Again" : "Continue"}</button>
          <button type="button" part="stop" ?disabled=${!speaking} @click=${this.stop}>Enough</button>
        </div>
      </form>
      ${this.complaints()}
      ${this.shows("note") ? html`<p class="note" role="status">${this.#note()}</p>` : nothing}
      <ul class="answers" part="answers" aria-label="Answers" aria-busy=${speaking}>
        ${this.said.map((saying) => html`<li><p class="said"><span
          class="beginning">${this.#beginning}</span>${saying.text}</p>
          ${saying.tokens > 0 ? html`<p class="note" part="log-prob">${likelihood(saying)}</p>` : nothing}</li>`)}
      </ul>`;
  }

  #number(name: "maxTokens" | "answers", title: string, max: number): TemplateResult {
    const change = (event: Event) => {
      const field = event.target as HTMLInputElement;
      if (field.validity.valid) this[name] = Number(field.value);
    };
    return html`<label class="field short">${title} <input name=${name} type="number" min="1" max=${max} required
      .value=${String(this[name])} @change=${change} /></label>`;
  }

  #note(): string {
    if (!greenhouse.model) return "There is no model yet: grow one first.";
    return greenhouse.state === "idle"
      ? `Asking ${greenhouse.model}.`
      : `Asking ${greenhouse.model}, while it is growing.`;
  }

  #choose(change: Partial<Sampling>): void {
    Object.assign(this, change);
    this.send("cloche-sampling", samplingOf(this));
  }

  #onText(event: Event): void {
    this.text = (event.target as HTMLTextAreaElement).value;
    this.send("cloche-text", this.text);
  }

  #onSubmit(event: Event): void {
    event.preventDefault();
    void this.speak();
  }
}

/** How likely the model thinks what it has said: the higher, the less it surprised itself. */
function likelihood({ tokens, logProb }: Saying): string {
  const shown = (nats: number) => nats.toFixed(nats > -100 ? 2 : 0).replace("-", "−");
  return `log-probability ${shown(logProb)}, ${shown(logProb / tokens)} a token`;
}
