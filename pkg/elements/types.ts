/** The elements as a program sees them; what an author writes is in `custom-elements.json`. */
import type { CreateOptions, GrowEvent, Message, Preset, Probe, SamplingOptions } from "cloche";
import type { RunRecord } from "./greenhouse.js";

/** What the elements that sample have in common. */
export type SamplingProperties = Required<
  Pick<SamplingOptions, "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty">
>;

/** `<cloche-trainer>`: what to read, what to grow, for how long; and the reins of the run. */
export interface TrainerElement extends HTMLElement {
  preset: Preset;
  /** `char`, `byte` or `bpe:SIZE`. */
  tokenizer: string;
  steps: number;
  device: NonNullable<CreateOptions["device"]>;
  seed: number;
  lr: number | undefined;
  batchSize: number | undefined;
  contextLen: number | undefined;
  /** The address of a text to read. */
  src: string;
  /** What is read: `"stories"`, a text, or a file. */
  data: "stories" | Blob | string;
  autostart: boolean;
  /** Pauses while nobody sees the element. */
  pauseHidden: boolean;
  /** Keeps runs in the browser's own file system, so that they outlive the tab. */
  keep: boolean;
  hide: string[];
  /** The run that this element started last. */
  readonly run: RunRecord | undefined;
  grow(): Promise<void>;
  /** Asks what the run would take, which wakes the engine. */
  estimate(): Promise<void>;
  /** Goes on with a run that was kept. */
  goOn(name: string): Promise<void>;
}

/** `<cloche-loss>`: the loss while it falls, perhaps beside that of another run. */
export interface LossElement extends HTMLElement {
  /** The id of the trainer whose runs are shown; all of the page where it is empty. */
  for: string;
  heading: string;
  hide: string[];
  /** The number of the run beside the newest one; negative where the browser has kept it from another visit. */
  compareWith: number | undefined;
}

/** `<cloche-samples>`: what the model says as it grows. */
export interface SamplesElement extends HTMLElement {
  for: string;
  heading: string;
  hide: string[];
  /** The number of the run whose samples stand beside those of the newest one. */
  compareWith: number | undefined;
}

/** `<cloche-tokens>`: a text as the tokens of a tokenizer. */
export interface TokensElement extends HTMLElement {
  text: string;
  /** `char`, `byte` or `bpe:SIZE`. */
  kind: string;
  /** What the tokenizer learns from: `stories`, or the text itself. */
  data: string;
  heading: string;
  autostart: boolean;
  hide: string[];
  split(): Promise<void>;
}

/** `<cloche-attention>`: where a head of the model looks. */
export interface AttentionElement extends HTMLElement {
  /** Without one it is the newest sample. */
  text: string;
  layer: number;
  head: number;
  heading: string;
  hide: string[];
}

/** `<cloche-next-token>`: what the model thinks comes next, and what the sampling controls make of it. */
export interface NextTokenElement extends HTMLElement, SamplingProperties {
  text: string;
  bars: number;
  heading: string;
  hide: string[];
}

/** `<cloche-prompt>`: continues a text. */
export interface PromptElement extends HTMLElement, SamplingProperties {
  text: string;
  answers: number;
  maxTokens: number;
  seed: number | undefined;
  hide: string[];
  speak(): Promise<void>;
  stop(): void;
}

/** `<cloche-chat>`: a conversation. */
export interface ChatElement extends HTMLElement, SamplingProperties {
  /** What the model is told before everything else. */
  system: string;
  placeholder: string;
  maxTokens: number;
  messages: Message[];
  hide: string[];
  say(content: string): Promise<void>;
  again(): Promise<void>;
  stop(): void;
}

/** Every element by its name. */
export interface ClocheElements {
  "cloche-trainer": TrainerElement;
  "cloche-loss": LossElement;
  "cloche-samples": SamplesElement;
  "cloche-tokens": TokensElement;
  "cloche-attention": AttentionElement;
  "cloche-next-token": NextTokenElement;
  "cloche-prompt": PromptElement;
  "cloche-chat": ChatElement;
}

/** What the elements tell the page; all of them bubble. */
export interface ClocheElementEvents {
  /** From a trainer: what happens in the run. */
  "cloche-event": CustomEvent<GrowEvent>;
  /** From a trainer: what was chosen. */
  "cloche-settings": CustomEvent<{ preset: Preset; tokenizer: string; steps: number; device: string }>;
  /** From the loss: another run was chosen to stand beside, by its number, or none. */
  "cloche-compare": CustomEvent<number | undefined>;
  /** From the tokens: how many there are. */
  "cloche-tokens": CustomEvent<{ kind: string; text: string; count: number; vocabSize: number }>;
  /** From what looks into the model: what it saw. */
  "cloche-probe": CustomEvent<Probe>;
  /** A text was changed. */
  "cloche-text": CustomEvent<string>;
  /** The sampling controls were changed. */
  "cloche-sampling": CustomEvent<SamplingProperties>;
  /** From the prompt and the chat: the model has ended. */
  "cloche-answer": CustomEvent<{ text: string; answers: string[]; logProbs: number[] } | { messages: Message[] }>;
  /** Something went wrong; the element says so too. */
  "cloche-error": CustomEvent<{ code: string; message: string }>;
}

declare global {
  interface HTMLElementTagNameMap extends ClocheElements {}
  interface HTMLElementEventMap extends ClocheElementEvents {}
}
