/**
 * Chat templates from elsewhere: Jinja, rendered by `@huggingface/jinja`, which is loaded when there is such a template.
 *
 * A template is a program from a stranger. It sees the roles of messages, placeholders for what they say, and the names of
 * special tokens; and it is stopped when it has taken too many steps or holds too much. So it needs no clock, and gives the
 * same on every machine.
 */
import { ClocheError } from "./errors.js";
import type { Environment, Node, Value } from "./jinja.js";
import type { Chat, Tokenizer } from "./wasm/text.js";

type Jinja = typeof import("./jinja.js");
type Render = (messages: [role: string, content: string][], isPrompt: boolean) => string;

/** Steps that a template may take: about a second, if they are slow ones. A message takes some dozens. */
const STEPS = 500_000;
/** Characters that it may write, or hold in one text. */
const CHARACTERS = 32 << 20;
/** Things that it may hold in one list, those in lists within it counted each time. */
const ITEMS = 100_000;
/** 26 July 2024: the day that Llama 3's own template takes where nobody tells it the date, and the command line too. */
const NOW = new Date(1_721_952_000_000);
const TOKENS = ["bos_token", "eos_token", "pad_token", "unk_token"];

/** Whoever writes conversations for a model, by the template that came with its tokenizer or by ours. */
export async function chatOf(text: { Chat: typeof Chat }, tokenizer: Tokenizer, turns: boolean): Promise<Chat> {
  const chat = new text.Chat(tokenizer, turns);
  if (!chat.isForeign) return chat;
  const jinja = await import("./jinja.js").catch((error: unknown) => {
    throw new ClocheError("LOAD_FAILED", error instanceof Error ? error.message : String(error));
  });
  const names = tokenizer.files(0).find(([name]) => name === "special_tokens_map.json");
  chat.renderBy(rendererOf(jinja, chat.template, JSON.parse(names?.[1] ?? "{}")));
  return chat;
}

/** Parses a template. `tokens` are special tokens by the names that templates use. */
export function rendererOf(jinja: Jinja, source: string, tokens: Record<string, string>): Render {
  const program = parsed(jinja, source);
  const Bounded = boundedInterpreter(jinja);
  return (messages, isPrompt) => {
    const environment = new jinja.Environment();
    const known = {
      ...{ true: true, false: false, none: null, True: true, False: false, None: null },
      ...{ raise_exception: raise, range: boundedRange, strftime_now: (format: string) => time(NOW, format) },
      ...{ messages: messages.map(([role, content]) => ({ role, content })), add_generation_prompt: isPrompt },
      ...{ tools: null, documents: null },
      ...Object.fromEntries(TOKENS.map((name) => [name, tokens[name] ?? ""])),
    };
    for (const [name, value] of Object.entries(known)) environment.set(name, value);
    return String(new Bounded(environment).run(program).value);
  };
}

function parsed(jinja: Jinja, source: string) {
  try {
    return jinja.parse(jinja.tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  } catch (error) {
    throw new ClocheError("TEMPLATE", `chat template: ${error instanceof Error ? error.message : error}`);
  }
}

/** An interpreter that counts its steps, and weighs what comes of each. */
function boundedInterpreter({ Interpreter }: Jinja) {
  return class extends Interpreter {
    #left = STEPS;
    /** How many things are in a list or an object. What is in them does not change, save for the few that are set anew. */
    readonly #weights = new WeakMap<object, number>();

    /** What loops run over. */
    readonly #iterables = new WeakSet<object>();

    override evaluate(node: Node | undefined, environment: Environment): Value {
      if (node?.type === "For") this.#iterables.add(node.iterable!.lhs ?? node.iterable!);
      this.#spend(1);
      const value = super.evaluate(node, environment);
      const weight = this.#weigh(value);
      if (weight > ITEMS) throw new Error(`it makes a list of more than ${ITEMS} items`);
      // What is long takes long: to look through, to copy, to write. A loop takes a step for each item, were it empty.
      this.#spend(node && this.#iterables.has(node) ? weight : weight >> 5);
      return value;
    }

    #spend(steps: number): void {
      this.#left -= steps;
      if (this.#left < 0) throw new Error(`it does not end within ${STEPS} steps`);
    }

    #weigh({ value }: Value): number {
      if (typeof value === "string") {
        if (value.length > CHARACTERS) throw new Error(`it writes more than ${CHARACTERS >> 20} MB`);
        return value.length >> 10;
      }
      if (!Array.isArray(value) && !(value instanceof Map)) return 0;
      const known = this.#weights.get(value);
      if (known !== undefined) return known;
      // One that holds itself would be looked through for ever.
      this.#weights.set(value, ITEMS + 1);
      let weight = 0;
      for (const inside of value.values()) weight += 1 + this.#weigh(inside);
      this.#weights.set(value, weight);
      return weight;
    }
  };
}

function raise(message: unknown): never {
  throw new Error(`it raises ${JSON.stringify(message)}`);
}

/** `range` of Python. */
function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = typeof second === "number" ? [first, second] : [0, first];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= ITEMS)) throw new Error(`it makes a list of more than ${ITEMS} items`);
  return Array.from({ length }, (_, at) => start + at * step);
}

/** A time as `strftime` writes it, in UTC. */
function time(now: Date, format: string): string {
  const two = (number: number) => String(number).padStart(2, "0");
  const name = (options: Intl.DateTimeFormatOptions) => now.toLocaleString("en-US", { ...options, timeZone: "UTC" });
  const written: Record<string, string> = {
    Y: String(now.getUTCFullYear()),
    m: two(now.getUTCMonth() + 1),
    B: name({ month: "long" }),
    b: name({ month: "short" }),
    d: two(now.getUTCDate()),
    A: name({ weekday: "long" }),
    a: name({ weekday: "short" }),
    H: two(now.getUTCHours()),
    M: two(now.getUTCMinutes()),
    S: two(now.getUTCSeconds()),
    "%": "%",
  };
  return format.replaceAll(/%(.?)/gs, (found, letter: string) => {
    const text = written[letter];
    if (text === undefined) throw new Error(`strftime_now knows %Y %m %B %b %d %A %a %H %M %S, not ${found}`);
    return text;
  });
}
