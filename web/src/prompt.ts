/** Continuing a text, during training and after it. */
import type { Cloche } from "cloche";
import { element } from "./dom.ts";

const form = element<HTMLFormElement>("prompt");
const output = element("continuation");
const note = element("prompt-note");
const start = element<HTMLButtonElement>("continue");
const hush = element<HTMLButtonElement>("hush");

/** Makes the form live; `model` gives the model there is at the moment, or says why there is none. */
export function preparePrompt(model: () => Cloche | string): void {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const found = model();
    if (typeof found === "string") note.textContent = found;
    else void speak(found);
  });
}

/** Says that a model is there, or why there is none. */
export function notePrompt(sentence: string): void {
  note.textContent = sentence;
}

async function speak(cloche: Cloche): Promise<void> {
  const fields = new FormData(form);
  const prompt = element<HTMLTextAreaElement>("prompt-text").value;
  const controller = new AbortController();
  const stop = () => controller.abort();
  const beginning = document.createElement("mark");
  beginning.textContent = prompt;
  const continuation = document.createTextNode("");
  output.replaceChildren(beginning, continuation);
  note.textContent = "";
  start.disabled = true;
  hush.disabled = false;
  hush.addEventListener("click", stop, { once: true });
  try {
    const options = {
      temperature: Number(fields.get("temperature")),
      maxTokens: Number(fields.get("maxTokens")),
      signal: controller.signal,
    };
    for await (const piece of cloche.generate(prompt, options)) continuation.data += piece;
  } catch (error) {
    if (!controller.signal.aborted) note.textContent = error instanceof Error ? error.message : String(error);
  } finally {
    hush.removeEventListener("click", stop);
    start.disabled = false;
    hush.disabled = true;
  }
}
