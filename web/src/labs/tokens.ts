/** Tokens: what does a model read? */
import type { TokensElement } from "cloche/elements";
import { html, type TemplateResult } from "lit";
import "../views/lengths.ts";
import "../views/merges.ts";
import type { Setup } from "../route.ts";
import { view } from "../views/view.ts";
import type { Lab } from "./index.ts";

const SAMPLES = [
  ["A story", "Once there was a little seed. It slept under the snow and dreamt of rain."],
  ["An unknown word", "The gardener explained photosynthesis."],
  ["Chinese", "从前有一颗小种子。"],
  ["Arabic", "كان يا ما كان، كانت هناك بذرة صغيرة."],
  ["Numbers", "In 1987 it rained 12345.67 litres."],
] as const;

/** Sizes of the vocabulary that learns pieces of words. */
const SIZES = [300, 512, 1024, 2048];

export const tokens: Lab = {
  id: "tokens",
  title: "Tokens",
  question: "What does a model read?",
  about: html`Not letters, not words: numbers. A tokenizer cuts the text into tokens from a list, its vocabulary, and
    the model only ever sees their places in that list.`,
  render(setup) {
    return html`${learn(setup)} ${read(setup)} ${fallApart(setup)} ${compare()}`;
  },
};

function learn(setup: Setup): TemplateResult {
  const remember = ({ detail }: CustomEvent<string>) => setup.set({ learn: detail });
  return view({
    title: "A vocabulary is learnt",
    figure: html`<lab-merges text=${setup.get("learn") ?? "aaabdaaabac"} @merges-text=${remember}></lab-merges>`,
    shows: html`Byte-pair encoding begins with single characters. Again and again it looks for the pair that stands side
      by side most often and makes it a token of its own, so that what is frequent becomes short.`,
    try: "merge until nothing is left to merge, then give it a text of yours. Which pieces does it find first?",
    formula: html`<p>In each round the new token is</p>
      <math display="block"><mrow><mo>(</mo><mi>a</mi><mo>,</mo><mi>b</mi><mo>)</mo><mo>=</mo>
        <munder><mi>arg max</mi><mrow><mo>(</mo><mi>a</mi><mo>,</mo><mi>b</mi><mo>)</mo></mrow></munder><mi>count</mi>
        <mo>(</mo><mi>a</mi><mi>b</mi><mo>)</mo></mrow></math>
      <p>and every <i>a b</i> in the text becomes one (Gage 1994; Sennrich, Haddow and Birch 2016).</p>`,
  });
}

function read(setup: Setup): TemplateResult {
  const text = setup.get("text") ?? SAMPLES[0][1];
  const size = setup.get("size") ?? "512";
  const show = (event: Event, text: string) => {
    const room = (event.currentTarget as Element).closest(".figure")!;
    for (const element of room.querySelectorAll("cloche-tokens")) element.text = text;
    room.querySelector("textarea")!.value = text;
    setup.set({ text });
  };
  const resize = ({ currentTarget }: Event) => {
    const { value } = currentTarget as HTMLSelectElement;
    document.querySelector<TokensElement>("#pieces")!.kind = `bpe:${value}`;
    setup.set({ size: value });
  };
  return view({
    title: "One text, three ways to read it",
    figure: html`<label class="field">Type or paste
        <textarea rows="3" dir="auto" .value=${text}
          @input=${(event: Event) => show(event, (event.target as HTMLTextAreaElement).value)}></textarea>
      </label>
      <p class="actions">
        ${SAMPLES.map(([name, sample]) => {
          const choose = (event: Event) => show(event, sample);
          return html`<button class="quiet" @click=${choose}>${name}</button>`;
        })}
      </p>
      <cloche-tokens heading="Characters" kind="char" text=${text} hide="text merges" autostart></cloche-tokens>
      <cloche-tokens heading="Bytes" kind="byte" text=${text} hide="text merges" autostart></cloche-tokens>
      <cloche-tokens id="pieces" heading="Pieces of words" kind="bpe:${size}" text=${text} hide="text merges"
        autostart></cloche-tokens>
      <label class="field short">Pieces in the vocabulary
        <select @change=${resize}>${SIZES.map((n) => html`<option ?selected=${String(n) === size}>${n}</option>`)}</select>
      </label>`,
    shows: html`All three have learnt from the stories that the Grow lab reads. Each box is a token, the number below it
      its id: that number is all that the model gets. A dashed box is a character that the vocabulary does not have: it
      is lost.`,
    try: html`more pieces, then the Chinese and the Arabic sentence. The character vocabulary has never seen them; bytes can write
      anything, but need two or three for each character.`,
    formula: html`<p>A text of <i>n</i> bytes in <i>t</i> tokens has <i>n</i>/<i>t</i> bytes a token. The loss in nats
      per token depends on the tokenizer; divided by bytes it can be compared:</p>
      <math display="block"><mrow><mtext>bits per byte</mtext><mo>=</mo>
        <mfrac><mrow><mi>t</mi><mo>·</mo><mi>loss</mi></mrow><mrow><mi>n</mi><mo>·</mo><mi>ln</mi><mn>2</mn></mrow></mfrac>
        </mrow></math>`,
  });
}

function fallApart(setup: Setup): TemplateResult {
  const remember = ({ detail }: CustomEvent<string>) => setup.set({ word: detail });
  return view({
    title: "An unknown word falls apart",
    figure: html`<cloche-tokens text=${setup.get("word") ?? "photosynthesis"} kind="bpe:512" hide="counts" autostart
      @cloche-text=${remember}></cloche-tokens>`,
    shows: html`A word that was never learnt is still read: it falls into pieces that were. The lines show how they come
      together; the merge learnt first goes first.`,
    try: html`a word from the stories, such as “little”, with a space before it, and then your own name. Choose a box to
      see how its piece was merged.`,
  });
}

function compare(): TemplateResult {
  return view({
    title: "Who pays more?",
    figure: html`<lab-lengths></lab-lengths>`,
    shows: html`A model reads and writes token by token, and its memory is counted in tokens. A tokenizer that learnt
      English makes English short and everything else long: the same sentence costs more of both.`,
    try: "to say which tokenizer treats all languages alike, and what that costs.",
  });
}
