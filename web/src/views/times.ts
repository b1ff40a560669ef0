/** `<lab-times>`: where the time of a step goes, by what is computed. */
import { greenhouse } from "cloche/elements";
import type { Profile } from "cloche";
import { html, type TemplateResult } from "lit";
import { LabElement } from "./lab-element.ts";

/** A run is asked no more often than this. */
const PAUSE_MS = 4000;

/** What operations have in common; whatever is none of these works number by number. */
const FAMILIES: [operations: RegExp, family: string][] = [
  [/^mat(mul|vec)/, "matrix products"],
  [/^attention/, "attention"],
  [/^(layer|rms)_norm/, "norms"],
  [/^(cross_entropy|log_softmax|softmax)/, "loss"],
  [/^(adamw|grad_norm)/, "optimizer"],
  [/^(embedding|buckets|gather|scatter)/, "embedding"],
];
const REST = "element by element";

interface Row {
  family: string;
  seconds: number;
  count: number;
}

class LabTimes extends LabElement {
  /** When a run may be asked again. */
  #due = 0;

  protected override greenhouseChanged(): void {
    if (this.isVisible && greenhouse.state === "growing" && performance.now() >= this.#due) {
      this.#due = performance.now() + PAUSE_MS;
      // A run that cannot be asked any more ends with an error of its own, which the trainer shows.
      greenhouse.profile().catch(() => {});
    }
    super.greenhouseChanged();
  }

  protected override render(): TemplateResult {
    const profile = greenhouse.runs.at(-1)?.profile;
    if (!profile) return html`<p>Nothing was timed yet: it is while a model grows and this is in view.</p>`;
    const rows = byFamily(profile);
    const total = rows.reduce((sum, { seconds }) => sum + seconds, 0);
    if (total === 0) return html`<p>This device has no clock that a page may read.</p>`;
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Time of a step"><table class="meters">
      <caption>Step ${profile.step}: ${milliseconds(total)} ms</caption>
      <thead><tr><th scope="col">What</th><th scope="col">Share</th><th scope="col">ms</th><th scope="col">Kernels</th></tr></thead>
      <tbody>${rows.map(
        ({ family, seconds, count }) => html`<tr><th scope="row">${family}</th>
          <td><meter max="1" value=${seconds / total}></meter> ${Math.round((100 * seconds) / total)} %</td>
          <td>${milliseconds(seconds)}</td><td>${count}</td></tr>`,
      )}</tbody>
    </table></div>`;
  }
}

function milliseconds(seconds: number): string {
  return (1000 * seconds).toFixed(seconds < 0.01 ? 2 : 0);
}

/** Adds up operations that are alike, the most expensive first. */
function byFamily({ kernels }: Profile): Row[] {
  const rows = new Map<string, Row>();
  for (const { name, seconds, count } of kernels) {
    const [, family = REST] = FAMILIES.find(([operations]) => operations.test(name)) ?? [];
    const row = rows.get(family) ?? { family, seconds: 0, count: 0 };
    rows.set(family, { family, seconds: row.seconds + seconds, count: row.count + count });
  }
  return Array.from(rows.values()).sort((a, b) => b.seconds - a.seconds);
}

customElements.define("lab-times", LabTimes);
