/** The page: reads the form, lets a model grow, and shows what happens. It computes nothing itself. */
import { Cloche, ClocheError, type GrowEvent, type Run } from "cloche";
import { addLoss, clearChart, prepareChart } from "./chart.ts";
import { download, element } from "./dom.ts";
import { bytes, duration } from "./format.ts";
import { showPhase, showStart, showState, showStep } from "./progress.ts";
import { notePrompt, preparePrompt } from "./prompt.ts";
import { addSample, clearSamples } from "./samples.ts";
import { prepareForm, readForm, type Setup } from "./setup.ts";
import { zip } from "./zip.ts";

const settings = element<HTMLFieldSetElement>("settings");
const grow = element<HTMLButtonElement>("grow");
const pause = element<HTMLButtonElement>("pause");
const stop = element<HTMLButtonElement>("stop");
const save = element<HTMLButtonElement>("save");

/** The engine, once it has been needed, and the device it was asked for. */
let cloche: Cloche | undefined;
let openedFor: Setup["device"] | undefined;
let run: Run | undefined;
let paused = false;
/** Whether there is a model that can speak. */
let ready = false;

prepareForm();
prepareChart();
preparePrompt(() => (cloche && ready ? cloche : "There is no model yet: press Grow first."));
element("setup").addEventListener("submit", (event) => {
  event.preventDefault();
  void start();
});
pause.addEventListener("click", () => void togglePause());
stop.addEventListener("click", () => {
  stop.disabled = true;
  void run?.stop();
});
save.addEventListener("click", () => void saveModel());

async function start(): Promise<void> {
  element("error").textContent = "";
  try {
    const setup = readForm();
    enter("growing");
    await open(setup.device);
    run = cloche!.grow(setup.grow);
    for await (const event of run) show(event);
  } catch (error) {
    complain(error);
  } finally {
    run = undefined;
    enter("idle");
  }
}

/** Opens the engine, or keeps the one that is open on the device asked for. */
async function open(device: Setup["device"]): Promise<void> {
  if (cloche && openedFor === device) return;
  forget();
  showState("Waking the engine …");
  cloche = await Cloche.create({ device });
  openedFor = device;
  element("device").textContent = `Computing on ${cloche.device.why}.`;
}

function show(event: GrowEvent): void {
  switch (event.event) {
    case "prepare":
      return showPhase(event);
    case "start":
      ready = true;
      save.disabled = false;
      stop.disabled = pause.disabled = false;
      notePrompt("You may try it while it is growing.");
      clearChart(event.steps, event.floor);
      clearSamples();
      return showStart(event);
    case "step":
      addLoss(event.step, { train: event.loss });
      return showStep(event);
    case "eval":
      return addLoss(event.step, { val: event.val_loss });
    case "sample":
      return addSample(event.step, event.text);
    case "nonfinite":
      element("error").textContent = `Step ${event.step} gave no finite number and was skipped.`;
      return;
    case "done":
      return showState(outcome(event));
  }
}

function outcome({ step, seconds, reason }: Extract<GrowEvent, { event: "done" }>): string {
  const done = `${step.toLocaleString("en")} steps in ${duration(seconds)}`;
  if (reason === "diverged") return `Stopped after ${done}: nothing finite came any more. The last good weights are kept.`;
  return reason === "stopped" ? `Stopped after ${done}. The model stays.` : `Grown: ${done}.`;
}

async function togglePause(): Promise<void> {
  paused = !paused;
  await (paused ? run?.pause() : run?.resume());
  if (paused) showState("Paused. The model can be tried and saved meanwhile.");
  pause.textContent = paused ? "Resume" : "Pause";
}

async function saveModel(): Promise<void> {
  const note = element("save-note");
  save.disabled = true;
  try {
    const files = await cloche!.export();
    download("cloche-model.zip", zip(files), "application/zip");
    const size = [...files.values()].reduce((sum, file) => sum + file.length, 0);
    note.textContent = `Saved ${files.size} files, ${bytes(size)}: ${[...files.keys()].join(", ")}.`;
  } catch (error) {
    note.textContent = error instanceof Error ? error.message : String(error);
  } finally {
    save.disabled = !ready;
  }
}

function enter(state: "growing" | "idle"): void {
  const growing = state === "growing";
  settings.disabled = grow.disabled = growing;
  if (growing) return;
  pause.disabled = stop.disabled = true;
  paused = false;
  pause.textContent = "Pause";
  if (ready) notePrompt("The model is ready.");
}

function complain(error: unknown): void {
  element("error").textContent = error instanceof Error ? error.message : String(error);
  showState("It stopped growing.");
  // After one of these the worker is of no use any more.
  const fatal = ["ENGINE_CRASHED", "LOAD_FAILED", "DEVICE_LOST"];
  if (error instanceof ClocheError && fatal.includes(error.code)) forget();
}

function forget(): void {
  cloche?.dispose();
  cloche = undefined;
  ready = false;
  save.disabled = true;
  notePrompt("There is no model yet: press Grow first.");
}
