/** Grow: how does it learn to speak? */
import { html, type TemplateResult } from "lit";
import "../views/norms.ts";
import "../views/runs.ts";
import "../views/times.ts";
import type { Setup } from "../route.ts";
import { view } from "../views/view.ts";
import type { Lab } from "./index.ts";

export const grow: Lab = {
  id: "grow",
  title: "Grow",
  question: "How does it learn to speak?",
  about: html`It is shown a text and guesses each next token. Where it is surprised, every number in it is moved a
    little, so that it would have been surprised less. Nothing else happens; do it often enough, and it speaks.`,
  render(setup) {
    return html`${train(setup)} ${loss()} ${samples()} ${prompt()} ${thoughts()} ${attention()} ${norms()} ${times()} ${kept()}`;
  },
};

function train(setup: Setup): TemplateResult {
  const start = setup.get("start") !== undefined;
  setup.set({ start: undefined });
  const remember = ({ detail }: CustomEvent<Record<string, string | number>>) => setup.set(detail);
  return view({
    title: "Let it read",
    figure: html`<cloche-trainer preset=${setup.get("preset") ?? "tiny"} tokenizer=${setup.get("tokenizer") ?? "char"}
      steps=${setup.get("steps") ?? "500"} keep
      device=${setup.get("device") ?? "auto"} ?autostart=${start} @cloche-settings=${remember}></cloche-trainer>`,
    shows: html`A new model, its numbers drawn at random, reads the text in small heaps, one heap a step. The stories
      are made by a program here, so it is known exactly how well they can be predicted at best.`,
    try: "the smallest size with characters first: it shows words within a minute. Pause it, talk to it, let it go on.",
    formula: html`<p>A step moves the weights against the gradient of the loss, smoothed and scaled for each of them
      (AdamW, Loshchilov and Hutter 2019):</p>
      <math display="block"><mrow><mi>w</mi><mo>←</mo><mi>w</mi><mo>−</mo><mi>lr</mi>
        <mrow><mo>(</mo><mfrac><mover><mi>m</mi><mo>^</mo></mover>
        <mrow><msqrt><mover><mi>v</mi><mo>^</mo></mover></msqrt><mo>+</mo><mi>ε</mi></mrow></mfrac>
        <mo>+</mo><mi>λ</mi><mi>w</mi><mo>)</mo></mrow></mrow></math>`,
  });
}

function loss(): TemplateResult {
  return view({
    title: "How surprised is it?",
    figure: html`<cloche-loss @cloche-compare=${together}></cloche-loss>`,
    shows: html`The loss is its surprise at the next token. At the start it knows nothing and every token is as likely
      as any other; then it falls. The broken line is on text that it never learns from. No model can get below the
      dotted floor.`,
    try: "to grow a second one with other settings, and compare the two. One that was kept from another day will do as well.",
    formula: html`<p>The mean over the tokens of a text, in nats:</p>
      <math display="block"><mrow><mi>loss</mi><mo>=</mo>
        <mo>−</mo><mfrac><mn>1</mn><mi>T</mi></mfrac>
        <munderover><mo>∑</mo><mrow><mi>t</mi><mo>=</mo><mn>1</mn></mrow><mi>T</mi></munderover><mi>ln</mi><mi>p</mi>
        <mo>(</mo><msub><mi>x</mi><mi>t</mi></msub><mo>|</mo><msub><mi>x</mi><mn>1</mn></msub><mo>…</mo>
        <msub><mi>x</mi><mrow><mi>t</mi><mo>−</mo><mn>1</mn></mrow></msub><mo>)</mo>
        </mrow></math>
      <p>A model that knows nothing of <i>V</i> tokens has ln <i>V</i>: 4.3 for 74 characters.</p>`,
  });
}

/** What stands beside the curve stands beside the samples. */
function together({ currentTarget, detail }: CustomEvent<number | undefined>): void {
  const samples = (currentTarget as Element).closest("article")!.querySelector("cloche-samples")!;
  samples.compareWith = detail;
}

function samples(): TemplateResult {
  return view({
    title: "From noise to words",
    figure: html`<cloche-samples hide="compare"></cloche-samples>`,
    shows: html`From time to time it is left to speak without a prompt. The first lines are noise; then come the
      frequent letters, then syllables, then words, and at last sentences that hang together.`,
    try: "to move along the line. When does the first real word appear, and how high is the loss there? A run that the loss is compared with speaks here, too.",
  });
}

function prompt(): TemplateResult {
  return view({
    title: "Ask it, also while it grows",
    figure: html`<cloche-prompt hide="top-k top-p min-p repetition-penalty answers"></cloche-prompt>`,
    shows: html`It goes on where you stop, one token at a time, each drawn from what it thinks likely. The model that
      answers is the one of this moment.`,
    try: "the same beginning at the start, in the middle and at the end of the run.",
  });
}

function thoughts(): TemplateResult {
  return view({
    title: "What does it think comes next?",
    figure: html`<cloche-next-token hide="top-k top-p min-p repetition-penalty temperature"
      temperature="1"></cloche-next-token>`,
    shows: html`The likeliest next tokens of the model of this moment. At first all are alike; then the frequent letters
      stand out; in the end it is nearly sure where the text leaves no choice.`,
    try: "to watch the bars while it grows, once in the middle of a word and once at its end.",
  });
}

function attention(): TemplateResult {
  return view({
    title: "Where does it look?",
    figure: html`<cloche-attention></cloche-attention>`,
    shows: html`To guess the next token, each token looks back at those before it. A row of the map is a token that
      looks, a column one that is looked at: the brighter, the more. Every head has found its own habit.`,
    try: "to find a head that looks at the token just before, and one that looks at the spaces.",
    formula: html`<math display="block"><mrow><mi>A</mi><mo>=</mo>
      <mi>softmax</mi><mo>(</mo>
      <mfrac><mrow><mi>Q</mi><msup><mi>K</mi><mo>⊤</mo></msup></mrow><msqrt><mi>D</mi></msqrt></mfrac><mo>)</mo>
      </mrow></math>
      <p>over the tokens up to the one that looks (Vaswani et al. 2017).</p>`,
  });
}

function norms(): TemplateResult {
  return view({
    title: "What is pulled at?",
    figure: html`<lab-norms></lab-norms>`,
    shows: html`How large the numbers of each layer are, and how strongly its newest sample pulls at them. In the
      beginning everything is pulled at; what has found its place is left alone.`,
    try: "to watch the gradients while it grows. Which layer is the last to come to rest?",
    formula: html`<math display="block"><mrow><mo>‖</mo><mi>w</mi><mo>‖</mo><mo>=</mo><msqrt><mrow><munder><mo>∑</mo><mi>i</mi></munder>
      <msubsup><mi>w</mi><mi>i</mi><mn>2</mn></msubsup></mrow></msqrt></mrow></math>
      <p>over all weights of a layer; likewise over the gradient of the loss for each of them.</p>`,
  });
}

function times(): TemplateResult {
  return view({
    title: "Where does the time go?",
    figure: html`<lab-times></lab-times>`,
    shows: html`What a step is made of. Almost all of it is multiplying matrices: each token is multiplied with every weight
      once on the way forward, and twice on the way back.`,
    try: "a larger size. The products' share grows, because all else grows more slowly.",
    formula: html`<p>Operations of a step with <i>N</i> weights and <i>T</i> tokens, attention not counted:</p>
      <math display="block"><mrow><mn>6</mn><mi>N</mi><mi>T</mi></mrow></math>
      <p>(Kaplan et al. 2020).</p>`,
  });
}

function kept(): TemplateResult {
  return view({
    title: "What is kept",
    figure: html`<lab-runs></lab-runs>`,
    shows: html`What grows here is saved from time to time, in this browser and nowhere else: the weights, where each of
      them was heading, and the text. So a run can go on after the page was closed, or the machine was, and becomes
      exactly what it would have been.`,
    try: "to close the page in the middle of a run, come back, and let it go on. Give the good ones a name.",
  });
}
