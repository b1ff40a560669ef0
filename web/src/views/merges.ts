/** `<lab-merges>`: a vocabulary that is learnt from a short text, one merge after the other. */
import type { TrainTrace } from "cloche";
import { greenhouse } from "cloche/elements";
import { html, LitElement, nothing, type TemplateResult } from "lit";

/** Merges that are learnt; most texts here end before. */
const MERGES = 60;
/** A merge this often while it plays. */
const PLAY_MS = 700;

const TEXTS = {
  classic: "aaabdaaabac",
  rhyme: "the seed slept deep, the seed will keep, the rain will seep, the seed will peep",
};

/** Drawn into the page itself: it is a part of the site, and takes the site's styles. */
class LabMerges extends LitElement {
  static override properties = {
    text: {},
    at: { state: true },
    trace: { state: true },
    playing: { state: true },
    trouble: { state: true },
  };
  declare text: string;
  /** How many merges are shown. */
  declare at: number;
  declare trace: TrainTrace | undefined;
  declare playing: number | undefined;
  declare trouble: string;

  constructor() {
    super();
    this.text = TEXTS.classic;
    this.at = 0;
    this.trouble = "";
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#pause();
  }

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("text")) void this.#learn();
  }

  async #learn(): Promise<void> {
    const { text } = this;
    this.#pause();
    this.at = 0;
    try {
      const cloche = await greenhouse.open();
      const trace = await cloche.tokenizers.trainTrace(text, MERGES);
      if (text !== this.text) return;
      this.trace = trace;
      this.trouble = "";
      this.dispatchEvent(new CustomEvent("merges-text", { detail: text, bubbles: true }));
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }

  protected override render(): TemplateResult {
    const steps = this.trace?.steps ?? [];
    const step = steps[this.at - 1];
    const symbols = step?.symbols ?? this.trace?.symbols ?? [];
    const input = (event: Event) => (this.text = (event.target as HTMLInputElement).value);
    return html`<label class="field">A text to learn from <input type="text" .value=${this.text} @change=${input} /></label>
      <p class="actions">
        <button class="quiet" @click=${() => (this.text = TEXTS.classic)}>The classic</button>
        <button class="quiet" @click=${() => (this.text = TEXTS.rhyme)}>A rhyme</button>
      </p>
      ${this.trouble ? html`<p class="error" role="alert">${this.trouble}</p>` : nothing}
      <p class="symbols" aria-label="The text in tokens">
        ${symbols.map((symbol) => html`<span
          class=${symbol === step?.token ? "symbol new" : "symbol"}>${symbol.replaceAll(" ", "·")}</span>`)}
      </p>
      <p class="note" role="status">${this.#reading(symbols.length)}</p>
      <div class="actions">
        <button @click=${() => this.#move(this.at + 1)} ?disabled=${this.at >= steps.length}>Merge</button>
        <button @click=${() => this.#move(this.at - 1)} ?disabled=${this.at === 0}>Back</button>
        <button @click=${this.#toggle}
          ?disabled=${steps.length === 0}>${this.playing === undefined ? "Play" : "Pause"}</button>
      </div>
      ${this.at > 0 ? this.#table() : nothing}`;
  }

  #reading(length: number): string {
    const steps = this.trace?.steps ?? [];
    const last = steps[this.at - 1];
    if (!this.trace) return "Waking the engine …";
    if (!last) return `${length} tokens, one for each character. ${steps.length === 0 ? "No pair occurs twice." : ""}`;
    const end = this.at === steps.length ? " No pair occurs twice any more." : "";
    const merge = `Merge ${this.at}: “${last.left}” + “${last.right}” stood there ${last.count} times.`;
    return `${merge} ${length} tokens now.${end}`;
  }

  #table(): TemplateResult {
    const shown = this.trace!.steps.slice(0, this.at);
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Merges so far">
      <table>
        <thead><tr><th scope="col">Merge</th><th scope="col">Pair</th><th scope="col">Times</th><th
          scope="col">New token</th><th scope="col">Short</th></tr></thead>
        <tbody>
          ${shown.map(
            ({ left, right, count, token, letter }, i) => html`<tr>
            <td>${i + 1}</td><td>${left} + ${right}</td><td>${count}</td><td>${token}</td><td>${letter}</td>
          </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="note">With the short letters the text reads <b class="compressed">${shown.at(-1)!.compressed}</b>.</p>`;
  }

  #move(to: number): void {
    this.#pause();
    this.at = to;
  }

  #toggle(): void {
    if (this.playing !== undefined) return this.#pause();
    if (this.at >= this.trace!.steps.length) this.at = 0;
    this.playing = window.setInterval(() => {
      this.at += 1;
      if (this.at >= this.trace!.steps.length) this.#pause();
    }, PLAY_MS);
  }

  #pause(): void {
    window.clearInterval(this.playing);
    this.playing = undefined;
  }
}

customElements.define("lab-merges", LabMerges);
