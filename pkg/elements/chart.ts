/** A line chart on uPlot, with a cursor that the arrow keys move too. */
import uPlot from "uplot";

/** A line: what it is called, how it is drawn, its values over the chart's x. */
export interface Line {
  label: string;
  /** A CSS colour; `light-dark()` and variables are resolved where the chart stands. */
  color: string;
  width: number;
  dash: number[];
  /** Few values with gaps between: joined, and each with a dot. */
  sparse: boolean;
  values: (number | null)[];
}

/** What is drawn. */
export interface Picture {
  xLabel: string;
  yLabel: string;
  /** Where the x axis ends, also while nothing has come so far. */
  xMax: number;
  x: number[];
  lines: Line[];
}

const HEIGHT = 300;

/** uPlot takes its colours and lines once, so another set of lines or another colour scheme needs another plot. */
export class Chart {
  readonly #host: HTMLElement;
  readonly #onCursor: (index: number | undefined) => void;
  #plot: uPlot | undefined;
  #drawn = "";
  #picture: Picture | undefined;
  readonly #resized = new ResizeObserver(() => this.#plot?.setSize(this.#size()));
  readonly #scheme = matchMedia("(prefers-color-scheme: dark)");
  readonly #redraw = () => {
    this.#drawn = "";
    if (this.#picture) this.draw(this.#picture);
  };

  /** `onCursor` hears which point the cursor is at, or that it has gone. */
  constructor(host: HTMLElement, onCursor: (index: number | undefined) => void) {
    this.#host = host;
    this.#onCursor = onCursor;
    this.#resized.observe(host);
    this.#scheme.addEventListener("change", this.#redraw);
  }

  draw(picture: Picture): void {
    this.#picture = picture;
    const { x, lines } = picture;
    const looks = JSON.stringify([picture.xLabel, picture.yLabel, lines.map(({ values: _, ...look }) => look)]);
    const data = [x, ...lines.map((line) => line.values)] as uPlot.AlignedData;
    if (looks === this.#drawn) return this.#plot?.setData(data);
    this.#drawn = looks;
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(picture), data, this.#host);
  }

  /** Moves the cursor to a point, as the mouse does. */
  point(index: number): void {
    const plot = this.#plot;
    if (!plot) return;
    const left = plot.valToPos(plot.data[0][index] ?? 0, "x");
    plot.setCursor({ left, top: plot.over.clientHeight / 2 });
  }

  destroy(): void {
    this.#plot?.destroy();
    this.#resized.disconnect();
    this.#scheme.removeEventListener("change", this.#redraw);
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(200, this.#host.clientWidth), height: HEIGHT };
  }

  #options({ xLabel, yLabel, lines }: Picture): uPlot.Options {
    const quiet = this.#resolved("var(--quiet)");
    const line = this.#resolved("var(--line)");
    const font = `13px ${getComputedStyle(this.#host).fontFamily}`;
    const axis: uPlot.Axis = {
      stroke: quiet,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1 },
      font,
      labelFont: font,
      labelSize: 22,
    };
    const empty = () => (this.#picture?.x.length ?? 0) === 0;
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      hooks: { setCursor: [({ cursor }) => this.#onCursor(cursor.idx ?? undefined)] },
      scales: {
        x: { time: false, range: () => [0, this.#picture?.xMax ?? 1] },
        y: { range: (_, min, max) => (empty() ? [0, 5] : uPlot.rangeNum(min, max, 0.1, true)) },
      },
      axes: [
        { ...axis, label: xLabel, size: 36 },
        { ...axis, label: yLabel, size: 44 },
      ],
      series: [
        {},
        ...lines.map(({ label, color, width, dash, sparse }) => ({
          label,
          stroke: this.#resolved(color),
          width,
          dash,
          spanGaps: true,
          points: { show: sparse, size: 6 },
        })),
      ],
    };
  }

  /** A canvas understands neither variables nor `light-dark()`: let the browser resolve them. */
  #resolved(color: string): string {
    const before = this.#host.style.color;
    this.#host.style.color = color;
    const plain = getComputedStyle(this.#host).color;
    this.#host.style.color = before;
    return plain;
  }
}
