/** `<lab-norms>`: how large the numbers of each layer are, and how strongly a text pulls at them. */
import { greenhouse } from "cloche/elements";
import type { Spread } from "cloche";
import { html, type TemplateResult } from "lit";
import { LabElement } from "./lab-element.ts";

/** What a layer comes to: the root of the sum of squares over its tensors. */
interface Row {
  layer: string;
  weights: number;
  gradients: number;
}

/** A model that grows is looked into no more often than this. */
const PAUSE_MS = 1200;
/** What it is shown where it has said nothing yet. */
const TEXT = "Once there was a";

class LabNorms extends LabElement {
  static override properties = { rows: { state: true }, trouble: { state: true } };
  declare rows: Row[];
  declare trouble: string;
  #looking = false;
  /** The state of the model that was looked into. */
  #seen = -1;

  constructor() {
    super();
    this.rows = [];
    this.trouble = "";
  }

  /** What is shown is measured; it is drawn when that has come. */
  protected override greenhouseChanged(): void {
    void this.#measure();
  }

  async #measure(): Promise<void> {
    const { cloche, model, version } = greenhouse;
    if (!cloche || !model || !this.isVisible || this.#looking || version === this.#seen) return;
    this.#looking = true;
    this.#seen = version;
    try {
      const text = greenhouse.runs.at(-1)?.samples.at(-1)?.text ?? "";
      const asked = { weights: true, gradients: true, nextTokens: 1 };
      const { weights = [], gradients = [] } = await cloche.probe(text.length > 1 ? text : TEXT, asked);
      this.rows = byLayer(weights, gradients);
      this.trouble = "";
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    this.#looking = false;
    this.greenhouseChanged();
  }

  protected override render(): TemplateResult {
    if (this.trouble) return html`<p class="error" role="alert">${this.trouble}</p>`;
    if (this.rows.length === 0) return html`<p>There is no model yet: grow one first.</p>`;
    const most = (of: (row: Row) => number) => Math.max(...this.rows.map(of), 1e-12);
    const [heaviest, strongest] = [most((row) => row.weights), most((row) => row.gradients)];
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Norms by layer"><table class="meters">
      <caption>Norms by layer</caption>
      <thead><tr><th scope="col">Layer</th><th scope="col">Weights</th><th scope="col">Gradients</th></tr></thead>
      <tbody>${this.rows.map(
        ({ layer, weights, gradients }) => html`<tr><th scope="row">${layer}</th>
          <td><meter max=${heaviest} value=${weights}></meter> ${weights.toFixed(2)}</td>
          <td><meter max=${strongest} value=${gradients}></meter> ${gradients.toPrecision(2)}</td></tr>`,
      )}</tbody>
    </table></div>`;
  }
}

/** Adds up tensors by where they are: before the layers, in one of them, or behind. */
function byLayer(weights: Spread[], gradients: Spread[]): Row[] {
  const squares = new Map<string, [weights: number, gradients: number]>();
  const add = (spreads: Spread[], at: 0 | 1) => {
    for (const { name, norm } of spreads) {
      const [, number] = /\.(?:h|layers)\.(\d+)\./.exec(name) ?? [];
      const layer = number !== undefined ? `layer ${number}` : /wte|wpe|embed/.test(name) ? "embedding" : "head";
      const sums = squares.get(layer) ?? [0, 0];
      sums[at] += norm ** 2;
      squares.set(layer, sums);
    }
  };
  add(weights, 0);
  add(gradients, 1);
  return Array.from(squares, ([layer, sums]) => ({ layer, weights: Math.sqrt(sums[0]), gradients: Math.sqrt(sums[1]) }));
}

customElements.define("lab-norms", LabNorms);
