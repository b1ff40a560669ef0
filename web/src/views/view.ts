/** A part of a lab: something to look at, and beside it what it shows, what to try, and the formula on demand. */
import { html, nothing, type TemplateResult } from "lit";

export interface View {
  title: string;
  figure: TemplateResult;
  /** What one sees, in plain words. */
  shows: TemplateResult | string;
  try: TemplateResult | string;
  formula?: TemplateResult;
}

export function view({ title, figure, shows, try: tries, formula }: View): TemplateResult {
  return html`<section>
    <h2>${title}</h2>
    <div class="figure">${figure}</div>
    <div class="beside">
      <p>${shows}</p>
      <p class="try"><b>Try:</b> ${tries}</p>
      ${formula ? html`<details><summary>The formula</summary>${formula}</details>` : nothing}
    </div>
  </section>`;
}
