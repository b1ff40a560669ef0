/** What the model said, and when: the newest on top. */
import { element } from "./dom.ts";

const list = element<HTMLOListElement>("samples");

/** Forgets the last run. */
export function clearSamples(): void {
  list.replaceChildren();
  element("no-samples").hidden = false;
}

/** Puts a sample on the time line. */
export function addSample(step: number, text: string): void {
  element("no-samples").hidden = true;
  const item = document.createElement("li");
  const title = document.createElement("h3");
  title.textContent = step === 0 ? "before the first step" : `after step ${step.toLocaleString("en")}`;
  const words = document.createElement("p");
  words.textContent = text;
  item.append(title, words);
  list.prepend(item);
}
