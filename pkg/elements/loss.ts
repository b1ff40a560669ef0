/** `<cloche-loss>`: the loss of the page's run while it falls, perhaps beside that of another run. */
import { css, html, nothing, svg, unsafeCSS, type PropertyValues, type TemplateResult } from "lit";
import plotCss from "uplot/dist/uPlot.min.css?inline";
import { Chart, type Line } from "./chart.js";
import { beside, comparison, shortName } from "./comparing.js";
import { csv, download } from "./download.js";
import { ClocheElement } from "./element.js";
import type { LossRow, RunRecord } from "./greenhouse.js";
import { anyOf, anyText, property, setting } from "./settings.js";
import type { LossElement } from "./types.js";

/** The table shows about this many rows; the CSV has them all. */
const TABLE_ROWS = 40;
/** Okabe and Ito's colours, in a tone for each scheme. */
const COLORS = {
  train: "var(--cloche-train, light-dark(#0072b2, #56b4e9))",
  val: "var(--cloche-val, light-dark(#d55e00, #e69f00))",
  floor: "var(--cloche-floor, light-dark(#00795a, #20b58c))",
  otherTrain: "var(--cloche-other-train, light-dark(#8a4f7d, #cc79a7))",
  otherVal: "var(--cloche-other-val, light-dark(#6b6b00, #f0e442))",
};
const DASHES = { solid: [], val: [8, 4], floor: [2, 5], otherTrain: [14, 3, 3, 3], otherVal: [5, 5] };

/** What is drawn: the shown run's rows, and the other run's in the same places. */
interface Series {
  run: RunRecord | undefined;
  other: RunRecord | undefined;
  x: number[];
  lines: Line[];
}

export class ClocheLoss extends ClocheElement implements LossElement {
  static override styles = [
    ClocheElement.styles,
    unsafeCSS(plotCss),
    css`
    #plot { width: 100%; min-height: 300px; touch-action: pan-y; }
    .uplot { font-family: inherit; }
    .legend { display: flex; flex-wrap: wrap; gap: 0.2em 1.4em; margin: 0.3em 0 0.6em; padding: 0; list-style: none;
      font-size: 0.88em; font-variant-numeric: tabular-nums; }
    .legend svg { width: 2.2em; height: 0.7em; margin-right: 0.4em; }
    .foot { display: flex; flex-wrap: wrap; gap: 0.4em 1.4em; align-items: start; }
    .foot details { flex: 1 1 14em; }
    .foot label { max-width: 100%; }
    .foot label select { width: auto; max-width: 100%; display: inline-block; margin: 0; }
  `,
  ];
  static override properties = {
    for: setting(anyText, ""),
    hide: setting(anyOf("caption", "table", "csv", "compare"), []),
    heading: setting(anyText, "Loss"),
    compareWith: property<number | undefined>(undefined),
    cursor: property<number | undefined>(undefined),
    tabular: property(false),
  };
  declare for: string;
  declare heading: string;
  /** The number of the run beside the newest one. */
  declare compareWith: number | undefined;
  /** The point that is read out. */
  declare protected cursor: number | undefined;
  /** Whether the table is open; a closed one is not kept up to date. */
  declare protected tabular: boolean;

  #chart: Chart | undefined;
  #series: Series = { run: undefined, other: undefined, x: [], lines: [] };

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#chart?.destroy();
    this.#chart = undefined;
  }

  protected override willUpdate(): void {
    const runs = this.runsOf(this.for);
    this.#series = seriesOf(runs.at(-1), beside(runs, this.compareWith));
  }

  protected override updated(_changed: PropertyValues): void {
    const host = this.renderRoot.querySelector<HTMLElement>("#plot")!;
    this.#chart ??= new Chart(host, (index) => {
      if (index !== this.cursor) this.cursor = index;
    });
    const { run, other, x, lines } = this.#series;
    const xMax = Math.max(run?.start?.steps ?? 100, other?.start?.steps ?? other?.rows.at(-1)?.step ?? 0);
    this.#chart.draw({ xLabel: "step", yLabel: "nats per token", xMax, x, lines });
  }

  protected override render(): TemplateResult {
    const { x, lines } = this.#series;
    const at = this.cursor ?? x.length - 1;
    const reading = x.length > 0 ? `step ${x[at]}: ${readings(lines, at)}` : "no data yet";
    return html`<figure part="figure">
      ${this.shows("caption")
        ? html`<figcaption part="heading">${this.heading} <small>in nats per token</small></figcaption>`
        : nothing}
      ${this.complaints()}
      <div id="plot" part="plot" tabindex="0" role="slider"
        aria-label=${`${this.heading}, by step: arrow keys move the cursor`}
        aria-valuemin="0" aria-valuemax=${Math.max(0, x.length - 1)} aria-valuenow=${Math.max(0, at)}
        aria-valuetext=${reading} @keydown=${this.#onKey}></div>
      <ul class="legend" part="legend">
        ${x.length > 0 ? html`<li>step ${x[at]}</li>` : nothing}
        ${lines.map((line) => html`<li>${swatch(line)}${line.label} ${digits(latest(line, at))}</li>`)}
      </ul>
      <div class="foot">
        ${this.shows("compare") ? this.#comparison() : nothing}
        ${this.shows("table") ? this.#table() : nothing}
        ${this.shows("csv") && x.length > 0
          ? html`<button class="plain" @click=${this.#save}>Save as CSV</button>`
          : nothing}
      </div>
    </figure>`;
  }

  #comparison(): TemplateResult | typeof nothing {
    const choose = (number: number | undefined) => {
      this.compareWith = number;
      this.send("cloche-compare", number);
    };
    const complain = (error: unknown) => this.complain(error);
    return comparison({ runs: this.runsOf(this.for), compareWith: this.compareWith, choose, complain });
  }

  #table(): TemplateResult {
    const { x, lines } = this.#series;
    const toggle = (event: Event) => (this.tabular = (event.target as HTMLDetailsElement).open);
    const every = Math.max(1, Math.ceil(x.length / TABLE_ROWS));
    const kept = (this.tabular ? [...x.keys()] : []).filter(
      (i) => i % every === 0 || i === x.length - 1 || lines.some((l) => l.sparse && l.values[i] != null),
    );
    return html`<details @toggle=${toggle}>
      <summary>Show as a table</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="${this.heading} as a table">
        <table part="table">
          <thead><tr><th scope="col">Step</th>${lines.map(({ label }) => html`<th scope="col">${label}</th>`)}</tr></thead>
          <tbody>
            ${kept.map((i) => {
              const cells = lines.map(({ values }) => html`<td>${values[i]?.toFixed(4) ?? ""}</td>`);
              return html`<tr><td>${x[i]}</td>${cells}</tr>`;
            })}
          </tbody>
        </table>
      </div>
    </details>`;
  }

  #onKey(event: KeyboardEvent): void {
    const last = this.#series.x.length - 1;
    const at = this.cursor ?? last;
    const page = Math.max(1, Math.round(last / 10));
    const moves: Record<string, number> = {
      ArrowLeft: at - 1,
      ArrowDown: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at + 1,
      PageDown: at - page,
      PageUp: at + page,
      Home: 0,
      End: last,
    };
    const to = moves[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.cursor = Math.min(last, Math.max(0, to));
    this.#chart?.point(this.cursor);
  }

  #save(): void {
    const { x, lines } = this.#series;
    const rows = x.map((step, i) => [step, ...lines.map((line) => line.values[i] ?? null)]);
    download("loss.csv", [csv(["step", ...lines.map((line) => line.label)], rows)], "text/csv");
  }
}

/** The lines of a run, and those of another one beside it, over the steps of both. */
function seriesOf(run: RunRecord | undefined, other: RunRecord | undefined): Series {
  const rows = run?.rows ?? [];
  const others = new Map(other?.rows.map((row) => [row.step, row]));
  const own = new Map(other && rows.map((row) => [row.step, row]));
  const x = other ? [...new Set([...own.keys(), ...others.keys()])].sort((a, b) => a - b) : rows.map((row) => row.step);
  const aligned: (LossRow | undefined)[] = other ? x.map((step) => own.get(step)) : rows;
  const lines = [
    line(
      "training",
      COLORS.train,
      DASHES.solid,
      aligned.map((row) => row?.train ?? null),
    ),
    line(
      "validation",
      COLORS.val,
      DASHES.val,
      aligned.map((row) => row?.val ?? null),
      true,
    ),
  ];
  const floor = run?.start?.floor;
  if (floor !== undefined)
    lines.push(
      line(
        "floor",
        COLORS.floor,
        DASHES.floor,
        x.map(() => floor),
      ),
    );
  if (other) {
    const name = shortName(other);
    const values = (key: "train" | "val") => x.map((step) => others.get(step)?.[key] ?? null);
    lines.push(line(`${name} training`, COLORS.otherTrain, DASHES.otherTrain, values("train")));
    lines.push(line(`${name} validation`, COLORS.otherVal, DASHES.otherVal, values("val"), true));
  }
  return { run, other, x, lines };
}

function line(label: string, color: string, dash: number[], values: (number | null)[], sparse = false): Line {
  return { label, color, dash, values, sparse, width: sparse ? 2 : 1.5 };
}

/** A value at a point, or the last one before it. */
function latest({ values }: Line, at: number): number | undefined {
  for (let i = at; i >= 0; i--) if (values[i] != null) return values[i]!;
  return undefined;
}

function digits(value: number | undefined): string {
  return value?.toFixed(3) ?? "–";
}

function readings(lines: Line[], at: number): string {
  return lines.map((line) => `${line.label} ${digits(latest(line, at))}`).join(", ");
}

function swatch({ color, dash, width }: Line): TemplateResult {
  return html`<svg viewBox="0 0 35 8" aria-hidden="true">${svg`<path d="M0 4h35" fill="none" .style=${`stroke: ${color}`}
    stroke-width=${width + 1} stroke-dasharray=${dash.join(" ")}></path>`}</svg>`;
}
