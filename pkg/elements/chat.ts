/** `<cloche-chat>`: a conversation with the model of the page. */
import { css, html, nothing, type TemplateResult } from "lit";
import type { Message } from "cloche";
import { ClocheElement } from "./element.js";
import { greenhouse } from "./greenhouse.js";
import { hidesSampling, samplingControls, samplingOf, samplingSettings, type Sampling } from "./sampling.js";
import { anyText, integer, property, setting } from "./settings.js";
import type { ChatElement } from "./types.js";

export interface ClocheChat extends Sampling {}
export class ClocheChat extends ClocheElement implements ChatElement {
  static override styles = [
    ClocheElement.styles,
    css`
    ol { list-style: none; margin: 0 0 0.8em; padding: 0; display: grid; gap: 0.7em; }
    li { max-width: 85%; padding: 0.6em 0.9em; border-radius: var(--radius); background: var(--card); 
      border: 1px solid var(--line); }
    li.user { justify-self: end; background: color-mix(in srgb, var(--accent) 14%, var(--card)); }
    form .field { margin-bottom: 0.6em; }
  `,
  ];
  static override properties = {
    ...samplingSettings,
    system: setting(anyText, ""),
    placeholder: setting(anyText, "Who are you?"),
    maxTokens: setting(integer(1, 10_000), 100, "max-tokens"),
    hide: hidesSampling("note", "again", "clear"),
    messages: property<Message[]>([]),
  };
  /** What the model is told before everything else. */
  declare system: string;
  declare placeholder: string;
  declare maxTokens: number;
  /** The conversation so far. */
  declare messages: Message[];

  #speaking: AbortController | undefined;

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.stop();
  }

  /** Says something and streams the answer. */
  async say(content: string): Promise<void> {
    if (!content.trim() || this.#speaking || !greenhouse.model) return;
    this.messages = [...this.messages, { role: "user", content }];
    await this.#answer();
  }

  /** Takes the last answer back and asks again. */
  async again(): Promise<void> {
    if (this.#speaking) return;
    if (this.messages.at(-1)?.role === "assistant") this.messages = this.messages.slice(0, -1);
    if (this.messages.length > 0) await this.#answer();
  }

  /** Ends the answer where it is. */
  stop(): void {
    this.#speaking?.abort();
  }

  async #answer(): Promise<void> {
    const cloche = greenhouse.cloche!;
    const speaking = new AbortController();
    this.#speaking = speaking;
    this.trouble = "";
    const asked = this.messages;
    const system: Message[] = this.system ? [{ role: "system", content: this.system }] : [];
    const seed = Math.floor(Math.random() * 2 ** 31);
    const options = { ...samplingOf(this), maxTokens: this.maxTokens, seed, adapter: greenhouse.adapter, signal: speaking.signal };
    let content = "";
    try {
      for await (const piece of cloche.chat([...system, ...asked], options)) {
        content += piece;
        this.messages = [...asked, { role: "assistant", content }];
      }
      this.messages = [...asked, { role: "assistant", content }];
      this.send("cloche-answer", { messages: this.messages });
    } catch (error) {
      if (!speaking.signal.aborted) this.complain(error);
    } finally {
      this.#speaking = undefined;
      this.requestUpdate();
    }
  }

  protected override render(): TemplateResult {
    const speaking = this.#speaking !== undefined;
    const { model } = greenhouse;
    const silent = !model || speaking;
    return html`<div role="log" aria-label="Conversation" aria-busy=${speaking}><ol part="messages">
        ${this.messages.map(
          ({ role, content }) => html`<li class=${role} part=${role}>
          <span class="hidden">${role === "user" ? "You: " : "The model: "}</span>
          <p class="said">${content || "(silence)"}</p>
        </li>`,
        )}
      </ol></div>
      ${this.complaints()}
      <form part="form" @submit=${this.#onSubmit}>
        <label class="field">You say <textarea part="text" rows="2" placeholder=${this.placeholder}
          @keydown=${this.#onKey}></textarea></label>
        ${samplingControls(
          this,
          (control) => this.shows(control),
          (change) => this.#choose(change),
        )}
        <div class="actions">
          <button type="submit" part="say" ?disabled=${silent}>Say it</button>
          <button type="button" part="stop" ?disabled=${!speaking} @click=${this.stop}>Enough</button>
          ${this.shows("again")
            ? html`<button type="button" part="again" ?disabled=${silent || this.messages.length === 0}
              @click=${this.again}>Another answer</button>`
            : nothing}
          ${this.shows("clear")
            ? html`<button type="button" part="clear" ?disabled=${speaking || this.messages.length === 0}
              @click=${() => (this.messages = [])}>Begin anew</button>`
            : nothing}
        </div>
      </form>
      ${this.shows("note")
        ? html`<p class="note" role="status">${model ? `Talking to ${model}.` : "There is no model yet: grow one first."}</p>`
        : nothing}`;
  }

  #choose(change: Partial<Sampling>): void {
    Object.assign(this, change);
    this.send("cloche-sampling", samplingOf(this));
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    (event.target as HTMLTextAreaElement).form!.requestSubmit();
  }

  #onSubmit(event: Event): void {
    event.preventDefault();
    const field = this.renderRoot.querySelector("textarea")!;
    const content = field.value || this.placeholder;
    if (!greenhouse.model || this.#speaking) return;
    field.value = "";
    void this.say(content);
  }
}
