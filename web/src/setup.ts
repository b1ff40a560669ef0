/** The form: what to read and what to grow. The choice stands in the address, so that it can be passed on. */
import type { CreateOptions, GrowOptions, Preset } from "cloche";
import { element } from "./dom.ts";
import { bytes } from "./format.ts";

/** What the reader chose. */
export interface Setup {
  grow: GrowOptions;
  device: NonNullable<CreateOptions["device"]>;
}

/** The fields that the address carries. */
const FIELDS = ["source", "preset", "tokenizer", "steps", "device"];

/** How often a run evaluates and how often it speaks. */
const EVALUATIONS = 10;
const SAMPLES = 8;

const form = element<HTMLFormElement>("setup");
const file = element<HTMLInputElement>("file");
const drop = element("drop");
let chosen: File | undefined;

/** Makes the form live. */
export function prepareForm(): void {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const name of FIELDS) {
    const field = form.elements.namedItem(name);
    const value = wanted.get(name);
    if (value !== null && (field instanceof RadioNodeList || isInput(field))) field.value = value;
    // A value that is not among the choices leaves a menu empty.
    if (field instanceof HTMLSelectElement && field.selectedIndex < 0) field.selectedIndex = 0;
  }
  form.addEventListener("change", remember);
  file.addEventListener("change", () => choose(file.files?.[0]));
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) document.addEventListener(type, onDrag);
  showDrop();
}

/** Reads the form; throws a sentence where something is missing. */
export function readForm(): Setup {
  const fields = new FormData(form);
  const text = (name: string) => String(fields.get(name));
  const stories = text("source") === "stories";
  if (!stories && !chosen) throw new Error("Choose a text file first, or let it read the stories.");
  const steps = Number(text("steps"));
  return {
    device: text("device") as Setup["device"],
    grow: {
      data: stories ? "stories" : chosen!,
      preset: text("preset") as Preset,
      tokenizer: text("tokenizer"),
      steps,
      evalEvery: Math.max(1, Math.round(steps / EVALUATIONS)),
      sampleAt: Array.from({ length: SAMPLES + 1 }, (_, i) => Math.round((i / SAMPLES) ** 2 * steps)),
    },
  };
}

function remember(): void {
  const fields = new FormData(form);
  const chosenFields = FIELDS.flatMap((name) => (fields.has(name) ? [[name, String(fields.get(name))]] : []));
  history.replaceState(null, "", `#${new URLSearchParams(chosenFields)}`);
  showDrop();
}

function showDrop(): void {
  drop.hidden = new FormData(form).get("source") !== "file";
}

function choose(next: File | undefined): void {
  if (!next) return;
  chosen = next;
  element("file-note").textContent = `${next.name}, ${bytes(next.size)}`;
}

/** The whole page takes a file, whatever source is chosen. */
function onDrag(event: Event): void {
  if (!(event instanceof DragEvent) || !event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.classList.toggle("over", event.type === "dragover" || event.type === "dragenter");
  const source = form.elements.namedItem("source");
  if (event.type !== "drop" || element<HTMLFieldSetElement>("settings").disabled) return;
  choose(event.dataTransfer.files[0]);
  if (source instanceof RadioNodeList) source.value = "file";
  remember();
}

function isInput(field: unknown): field is HTMLInputElement | HTMLSelectElement {
  return field instanceof HTMLInputElement || field instanceof HTMLSelectElement;
}
