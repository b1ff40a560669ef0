/** Talk: what can it do now? */
import { html, type TemplateResult } from "lit";
import "../views/model.ts";
import type { Setup } from "../route.ts";
import { view } from "../views/view.ts";
import type { Lab } from "./index.ts";

export const talk: Lab = {
  id: "talk",
  title: "Talk",
  question: "What can it do now?",
  about: html`A grown model does one thing: it says how likely each token is to come next. Everything else, a story, an
    answer, a conversation, is made by drawing from that again and again.`,
  render(setup) {
    return html`${model()} ${next(setup)} ${goOn(setup)} ${chat(setup)}`;
  },
};

function model(): TemplateResult {
  return view({
    title: "Who answers?",
    figure: html`<lab-model></lab-model>`,
    shows: html`The model is the one that grew last in this tab, or one from a file or an address: a folder as Hugging
      Face lays it out, of the GPT-2 or the Llama family, small enough for a page.`,
    try: "to save it, reload the page, and open it again.",
  });
}

/** The continuation draws from what the bars show: the same text, the same controls. */
function together(event: CustomEvent): void {
  const prompt = (event.currentTarget as Element).closest("article")!.querySelector("cloche-prompt")!;
  const { repetitionPenalty: _its, ...change } = event.type === "cloche-text" ? { text: event.detail } : event.detail;
  Object.assign(prompt, change);
}

function next(setup: Setup): TemplateResult {
  const remember = (event: CustomEvent<string>) => {
    setup.set({ text: event.detail });
    together(event);
  };
  return view({
    title: "What comes next?",
    figure: html`<cloche-next-token text=${setup.get("text") ?? "Once there was"} hide="repetition-penalty"
      @cloche-text=${remember} @cloche-sampling=${together}></cloche-next-token>`,
    shows: html`Each row is a token that could come next. The controls do not change what the model thinks, only what is
      drawn from: the temperature makes the likely likelier or levels them, the others cut the tail off.`,
    try: "temperature 0, then 2. Then top-k 3. Choose a token yourself, and go on.",
    formula: html`<p>With logits <i>z</i> and the temperature <i>τ</i>:</p>
      <math display="block"><mrow><msub><mi>p</mi><mi>i</mi></msub><mo>=</mo>
        <mfrac><msup><mi>e</mi><mrow><msub><mi>z</mi><mi>i</mi></msub><mo>/</mo><mi>τ</mi></mrow></msup>
        <mrow><munder><mo>∑</mo><mi>j</mi></munder><msup><mi>e</mi><mrow><msub><mi>z</mi><mi>j</mi></msub><mo>/</mo><mi>τ</mi></mrow></msup></mrow></mfrac>
        </mrow></math>
      <p>Top-k keeps the <i>k</i> likeliest (Fan, Lewis and Dauphin 2018), top-p the likeliest that together
        reach <i>p</i> (Holtzman et al. 2020), min-p those with at least that share of the likeliest one's probability
        (Nguyen et al. 2024).</p>`,
  });
}

function goOn(setup: Setup): TemplateResult {
  return view({
    title: "Let it go on",
    figure: html`<cloche-prompt text=${setup.get("text") ?? "Once there was"} answers="3" max-tokens="80"
      hide="text temperature top-k top-p min-p"></cloche-prompt>`,
    shows: html`Several answers to the text above, drawn with the controls above, side by side. They differ by chance
      alone. Below each stands how likely the model finds it, in nats: all its tokens together, and each of them on
      average.`,
    try: html`temperature 0: why are all answers the same now? And why does such a text often run in circles? The
      repetition penalty is against that.`,
  });
}

function chat(setup: Setup): TemplateResult {
  return view({
    title: "A conversation",
    figure: html`<cloche-chat system=${setup.get("system") ?? ""}
      hide="top-k top-p min-p repetition-penalty"></cloche-chat>`,
    shows: html`A conversation is a text too: a mark says who speaks, and the model goes on where its own turn begins. A
      model that has only read stories has never seen such marks, and tells a story.`,
    try: html`the same question to a model that was taught to answer. One from the command line, saved as a folder,
      opens above.`,
  });
}
