/** The files of a model's folder, as far as they are text: the tokenizer, and how conversations are written. */
import { ClocheError } from "./errors.js";
import type { Files } from "./tuning.js";
import type { Chat, Tokenizer } from "./wasm/text.js";

/** A file as the engine takes and gives it. */
export type NamedBytes = [name: string, bytes: Uint8Array<ArrayBuffer>];

/** The text of a file, where there is one. */
export function textOf(files: Files, name: string): string | undefined {
  const bytes = files.get(name);
  return bytes && new TextDecoder().decode(bytes);
}

/** The tokenizer in the files of a folder, with the chat template that is among them. */
export function tokenizerOf(files: Files, { fromJson }: Pick<typeof Tokenizer, "fromJson">): Tokenizer {
  const text = textOf(files, "tokenizer.json");
  const [config, template] = [textOf(files, "tokenizer_config.json"), textOf(files, "chat_template.jinja")];
  if (text !== undefined) return fromJson(text, template === undefined ? config : withTemplate(config, template));
  throw new ClocheError("CHECKPOINT", "tokenizer.json is not there");
}

/** A tokenizer's configuration with the template of a file beside it, which counts more than one within. */
function withTemplate(config: string | undefined, template: string): string {
  try {
    return JSON.stringify({ ...JSON.parse(config ?? "{}"), chat_template: template });
  } catch (error) {
    throw new ClocheError("CHECKPOINT", `tokenizer_config.json: ${error}`);
  }
}

/** The files of a tokenizer; its configuration says how conversations are written, for whoever opens the folder. */
export function tokenizerFiles(tokenizer: Tokenizer, chat: Chat | undefined, contextLen: number): NamedBytes[] {
  return tokenizer.files(contextLen).map(([name, text]) => {
    const isConfig = name === "tokenizer_config.json" && chat;
    return textFile(name, isConfig ? json({ ...JSON.parse(text), chat_template: chat.template }) : text);
  });
}

/** A value as the text of a JSON file. */
export function json(value: object): string {
  return JSON.stringify(value, undefined, 2) + "\n";
}

export function textFile(name: string, text: string): NamedBytes {
  return [name, new TextEncoder().encode(text)];
}

/** The tokens of a model from nothing: the printable characters of ASCII, the line break, and the marks of a chat. */
export function plainTokenizer({ TokenizerTrainer }: Pick<typeof import("./wasm/text.js"), "TokenizerTrainer">): Tokenizer {
  const trainer = new TokenizerTrainer("char");
  trainer.feed(Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at)).join("") + "\n");
  trainer.endOfText(true);
  trainer.chatTokens(true);
  return trainer.finish();
}
