/** What a model is asked, as the tokens that it reads, and what ends an answer to it. */
import { ClocheError } from "./errors.js";
import type { Grown } from "./shelf.js";
import { chatOf } from "./templates.js";
import type { Message } from "./tuning.js";

/** A prompt. */
export interface Prompt {
  ids: Uint32Array;
  /** Those of a text that is shown, and goes on; none where an answer begins. */
  shown: Uint32Array;
  /** Tokens that end what follows it. */
  stopIds: Uint32Array | number[];
  /** Texts that do, besides those that the caller names. */
  stop: string[];
}

/** Loads the module that knows how conversations are written. */
type LoadText = () => Promise<Parameters<typeof chatOf>[0]>;

/** A text to continue, or a conversation to answer. */
export type Asked = string | Message[];

/** What a model reads of something asked. @throws `SETTINGS` where a conversation leaves no room for an answer */
export async function promptOf(grown: Grown, asked: Asked, text: LoadText): Promise<Prompt> {
  const { tokenizer } = grown;
  if (typeof asked === "string") {
    const ids = tokenizer.encode(asked);
    return { ids, shown: ids, stopIds: tokenizer.eotId === undefined ? [] : [tokenizer.eotId], stop: [] };
  }
  const chat = (grown.chat ??= await chatOf(await text(), tokenizer, true));
  const ids = chat.prompt(JSON.stringify(asked));
  const { contextLen } = grown.run;
  if (ids.length >= contextLen) {
    throw new ClocheError("SETTINGS", `messages: found ${ids.length} tokens, expected fewer than ${contextLen}, the model's context`);
  }
  return { ids, shown: new Uint32Array(), stopIds: chat.stopIds, stop: chat.stopText === undefined ? [] : [chat.stopText] };
}

/** The same of many, which are either all texts or all conversations, so that the same ends them. @throws `SETTINGS` */
export async function promptsOf(grown: Grown, asked: Asked[], text: LoadText): Promise<Prompt[]> {
  const kindOf = (one: Asked) => (typeof one === "string" ? "a text" : Array.isArray(one) ? "a conversation" : "neither a text nor a conversation");
  const expected = Array.isArray(asked[0]) ? "a conversation" : "a text";
  const prompts: Prompt[] = [];
  for (const [index, one] of asked.entries()) {
    const found = kindOf(one);
    if (found !== expected) throw new ClocheError("SETTINGS", `asked: found ${found} at ${index}, expected ${expected}`);
    prompts.push(await promptOf(grown, one, text));
  }
  return prompts;
}
