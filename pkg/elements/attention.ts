/** `<cloche-attention>`: where the model looks: the attention of a head, token by token. */
import { css, html, nothing, type TemplateResult } from "lit";
import { csv, download } from "./download.js";
import { greenhouse } from "./greenhouse.js";
import { ProbingElement } from "./probing.js";
import { anyOf, anyText, integer, property, setting } from "./settings.js";
import type { AttentionElement } from "./types.js";
import { viridis } from "./viridis.js";

/** More characters than these make a map that nobody can read. */
const MAX_CHARS = 48;
const LEGEND = Array.from({ length: 11 }, (_, i) => `rgb(${viridis(i / 10)})`).join(", ");

/** A place on the map: the token that looks, and the one that is looked at. */
interface Cell {
  row: number;
  column: number;
}

export class ClocheAttention extends ProbingElement implements AttentionElement {
  static override styles = [
    ProbingElement.styles,
    css`
    .plane { position: relative; }
    .cell { position: absolute; border: 2px solid var(--ink); outline: 1px solid var(--card); pointer-events: none; }
    .map { display: grid; margin-top: 0.8em; grid-template-columns: minmax(0, 1fr); gap: 0.6em; max-width: 30em; }
    canvas { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--line);
      cursor: crosshair; }
    .field > select { width: auto; min-width: 6em; }
    .looks { margin: 0; line-height: 1.9; }
    .looks span { padding: 0.1em 0.05em; border-radius: 0.2em; white-space: pre-wrap; }
    .looks .query { outline: 2px solid var(--ink); }
    .legend { display: flex; align-items: center; gap: 0.5em; font-size: 0.85em; color: var(--quiet); }
    .legend i { flex: 1; height: 0.7em; border-radius: 0.2em; }
  `,
  ];
  static override properties = {
    text: setting(anyText, ""),
    layer: setting(integer(0, 1000), 0),
    head: setting(integer(0, 1000), 0),
    heading: setting(anyText, "Where it looks"),
    hide: setting(anyOf("text", "caption", "layer", "head", "csv"), []),
    cell: property<Cell | undefined>(undefined),
  };
  /** Without one it is the newest sample. */
  declare text: string;
  declare layer: number;
  declare head: number;
  declare heading: string;
  declare protected cell: Cell | undefined;

  protected override question() {
    const text = this.text || (greenhouse.runs.at(-1)?.samples.at(-1)?.text ?? "");
    return { text: text.slice(0, MAX_CHARS), options: { attention: { layer: this.layer, head: this.head } } };
  }

  protected override updated(): void {
    super.updated();
    const canvas = this.renderRoot.querySelector("canvas");
    if (canvas && this.probe?.attention) paint(canvas, this.probe.tokens.length, this.probe.attention);
  }

  protected override render(): TemplateResult {
    const missing = this.why();
    return html`<figure part="figure">
      ${this.shows("caption")
        ? html`<figcaption part="heading">${this.heading} <small>as a share of 1</small></figcaption>`
        : nothing}
      ${this.shows("text")
        ? html`<label class="field">A text <textarea part="text" rows="2" placeholder="the newest sample"
          maxlength=${MAX_CHARS} .value=${this.text} @input=${this.#onText}></textarea></label>`
        : nothing}
      <div class="actions">${this.#menu("layer", "Layer")} ${this.#menu("head", "Head")}</div>
      ${this.complaints()}
      ${missing
        ? html`<p class="note" role="status">${missing}</p>`
        : this.probe?.attention
          ? this.#map(this.probe.tokens, this.probe.attention)
          : nothing}
    </figure>`;
  }

  #menu(name: "layer" | "head", title: string): TemplateResult | typeof nothing {
    if (!this.shows(name)) return nothing;
    const count = this.probe?.[`${name}s`] ?? 1 + this[name];
    const choose = (event: Event) => (this[name] = Number((event.target as HTMLSelectElement).value));
    return html`<label class="field">${title} <select name=${name} @change=${choose}>
      ${Array.from({ length: count }, (_, i) => html`<option value=${i} .selected=${i === this[name]}>${i}</option>`)}
    </select></label>`;
  }

  #map(tokens: string[], attention: Float32Array): TemplateResult {
    const last = tokens.length - 1;
    const row = Math.min(last, this.cell?.row ?? last);
    const column = Math.min(row, this.cell?.column ?? likeliest(attention, row, tokens.length));
    const share = (at: number) => attention[row * tokens.length + at] ?? 0;
    const reading = `“${tokens[row]}” (${row}) looks at “${tokens[column]}” (${column}): ${share(column).toFixed(3)}`;
    const side = 100 / tokens.length;
    return html`<div class="map">
      <div class="plane">
        <canvas part="map" tabindex="0" role="slider"
          aria-label="Attention: up and down choose the token that looks, left and right the one it looks at"
          aria-valuemin="0" aria-valuemax=${tokens.length ** 2 - 1} aria-valuenow=${row * tokens.length + column}
            aria-valuetext=${reading}
          @keydown=${(event: KeyboardEvent) => this.#onKey(event, { row, column }, last)}
            @pointermove=${(event: PointerEvent) => this.#onPointer(event, tokens.length)}></canvas>
        <i class="cell" .style=${`width: ${side}%; height: ${side}%; left: ${side * column}%; top: ${side * row}%`}></i>
      </div>
      <div class="legend" aria-hidden="true">0 <i .style=${`background: linear-gradient(to right, ${LEGEND})`}></i> 1</div>
      <p part="reading">${reading}</p>
      <p class="looks" part="tokens" aria-hidden="true">${tokens.slice(0, row + 1).map(
        (token, at) => html`<span class=${at === row ? "query" : ""}
        .style=${`background: color-mix(in srgb, #1f9e89 ${Math.round(85 * share(at))}%, transparent)`}>${token}</span>`,
      )}</p>
      ${this.shows("csv")
        ? html`<p><button class="plain" @click=${() => this.#save(tokens, attention)}>Save as CSV</button></p>`
        : nothing}
    </div>`;
  }

  #onPointer(event: PointerEvent, length: number): void {
    const { width, height } = (event.target as Element).getBoundingClientRect();
    const row = Math.min(length - 1, Math.floor((event.offsetY / height) * length));
    this.cell = { row, column: Math.min(row, Math.floor((event.offsetX / width) * length)) };
  }

  #onKey(event: KeyboardEvent, { row, column }: Cell, last: number): void {
    const moves: Record<string, Cell> = {
      ArrowUp: { row: row - 1, column },
      ArrowDown: { row: row + 1, column },
      ArrowLeft: { row, column: column - 1 },
      ArrowRight: { row, column: column + 1 },
    };
    const to = moves[event.key];
    if (!to) return;
    event.preventDefault();
    const kept = Math.min(last, Math.max(0, to.row));
    this.cell = { row: kept, column: Math.min(kept, Math.max(0, to.column)) };
  }

  #onText(event: Event): void {
    this.text = (event.target as HTMLTextAreaElement).value;
    this.send("cloche-text", this.text);
  }

  #save(tokens: string[], attention: Float32Array): void {
    const rows = tokens.map((token, row) => [
      token,
      ...attention.slice(row * tokens.length, (row + 1) * tokens.length),
    ]);
    download("attention.csv", [csv(["looks at", ...tokens], rows)], "text/csv");
  }
}

/** Where a token looks most. */
function likeliest(attention: Float32Array, row: number, length: number): number {
  const shares = attention.subarray(row * length, row * length + row + 1);
  return shares.indexOf(Math.max(...shares));
}

/** One pixel for each pair; the browser enlarges them. What comes later cannot be looked at and stays empty. */
function paint(canvas: HTMLCanvasElement, length: number, attention: Float32Array): void {
  canvas.width = canvas.height = length;
  const image = new ImageData(length, length);
  for (let row = 0; row < length; row++) {
    for (let column = 0; column <= row; column++) {
      const at = row * length + column;
      image.data.set([...viridis(attention[at] ?? 0), 255], 4 * at);
    }
  }
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
