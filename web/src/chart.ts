/** The loss: a chart that is drawn at most once a frame, the same numbers as a table, and as CSV. */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { download, element } from "./dom.ts";

/** What is known of one step. */
interface Row {
  step: number;
  train: number | null;
  val: number | null;
}

const HEIGHT = 320;
/** The table shows about this many rows; the CSV has them all. */
const TABLE_ROWS = 60;

const container = element("chart");
const tableView = element<HTMLDetailsElement>("table-view");
const csv = element<HTMLButtonElement>("csv");

let rows: Row[] = [];
let floor: number | undefined;
let lastStep = 100;
let plot: uPlot | undefined;
let frame = 0;

/** Forgets the last run; the next one has this many steps, and perhaps a loss that none can go below. */
export function clearChart(steps: number, newFloor: number | undefined): void {
  rows = [];
  lastStep = steps;
  floor = newFloor;
  csv.disabled = true;
  build();
}

/** Adds to the row of a step. */
export function addLoss(step: number, losses: { train?: number; val?: number }): void {
  let row = rows.at(-1);
  if (row?.step !== step) rows.push((row = { step, train: null, val: null }));
  row.train = losses.train ?? row.train;
  row.val = losses.val ?? row.val;
  csv.disabled = false;
  frame ||= requestAnimationFrame(draw);
}

/** Makes the table and the download live, and follows the window and the colour scheme. */
export function prepareChart(): void {
  tableView.addEventListener("toggle", fillTable);
  csv.addEventListener("click", () => download("loss.csv", [toCsv()], "text/csv"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  new ResizeObserver(() => plot?.setSize(size())).observe(container);
  build();
}

function draw(): void {
  frame = 0;
  plot?.setData(data());
  describe();
  if (tableView.open) fillTable();
}

function data(): uPlot.AlignedData {
  const steps = rows.map((row) => row.step);
  return [steps, rows.map((row) => row.train), rows.map((row) => row.val), steps.map(() => floor ?? null)];
}

function size(): { width: number; height: number } {
  return { width: Math.max(240, container.clientWidth), height: HEIGHT };
}

/** uPlot takes its colours once, so a new scheme needs a new plot. */
function build(): void {
  plot?.destroy();
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => resolved(style.getPropertyValue(name));
  const [ink, line] = [color("--quiet"), color("--line")];
  const font = `13px ${style.fontFamily}`;
  const axis: uPlot.Axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font, labelFont: font };
  const digits = (_: uPlot, value: number | null) => (value === null ? "–" : value.toFixed(3));
  plot = new uPlot(
    {
      ...size(),
      // Before the first number the axes show what will come.
      scales: {
        x: { time: false, range: () => [0, lastStep] },
        y: { range: (_, min, max) => (rows.length > 0 ? uPlot.rangeNum(min, max, 0.1, true) : [0, 5]) },
      },
      axes: [
        { ...axis, label: "step" },
        { ...axis, label: "loss (nats per token)", size: 56 },
      ],
      series: [
        { label: "step" },
        { label: "training", stroke: color("--train"), width: 1.5, value: digits, points: { show: false } },
        {
          label: "validation",
          stroke: color("--val"),
          width: 2,
          dash: [8, 4],
          spanGaps: true,
          value: digits,
          points: { show: true, size: 7 },
        },
        {
          label: "floor",
          show: floor !== undefined,
          stroke: color("--floor"),
          width: 2,
          dash: [2, 5],
          value: digits,
          points: { show: false },
        },
      ],
    },
    data(),
    container,
  );
}

/** A canvas does not understand light-dark(): let the browser resolve it. */
function resolved(color: string): string {
  container.style.color = color;
  const plain = getComputedStyle(container).color;
  container.style.color = "";
  return plain;
}

/** The chart in a sentence, for those who cannot see it. */
function describe(): void {
  const train = rows.findLast((row) => row.train !== null);
  const val = rows.findLast((row) => row.val !== null);
  const parts = [
    train && `training loss ${train.train!.toFixed(2)} at step ${train.step}`,
    val && `validation loss ${val.val!.toFixed(2)} at step ${val.step}`,
    floor !== undefined && `floor ${floor.toFixed(2)}`,
  ];
  container.setAttribute("aria-label", `Loss in nats per token: ${parts.filter(Boolean).join(", ")}`);
}

function fillTable(): void {
  const every = Math.ceil(rows.length / TABLE_ROWS);
  const shown = rows.filter((row, i) => i % every === 0 || row.val !== null || i === rows.length - 1);
  element("table").replaceChildren(...shown.map(tableRow));
}

function tableRow({ step, train, val }: Row): HTMLTableRowElement {
  const row = document.createElement("tr");
  for (const text of [String(step), train?.toFixed(4) ?? "", val?.toFixed(4) ?? ""]) row.insertCell().textContent = text;
  return row;
}

function toCsv(): string {
  const lines = rows.map(({ step, train, val }) => [step, train ?? "", val ?? "", floor ?? ""].join(","));
  return ["step,train_loss,val_loss,floor", ...lines, ""].join("\n");
}
