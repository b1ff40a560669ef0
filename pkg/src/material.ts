/** From records to what the engine learns from: tokens that fit the model's context, and who judges its answers. */
import { ClocheError } from "./errors.js";
import { verdictOf, type Item, type Records } from "./records.js";
import type { TuneEvent, Verifier } from "./tuning.js";
import type { Material } from "./wasm/teach.js";
import type { Chat, Encoded, Tokenizer } from "./wasm/text.js";

/** The stages by what they learn from. */
export type Learning = "demonstrations" | "comparisons" | "questions";

/** A question that the model is asked. */
export interface Asked {
  ids: Uint32Array;
  /** The question as people read it. */
  asked: string;
  /** A right answer. */
  answer: string;
  judge: Verifier;
}

/** One side of the wall between training and examination. */
interface Side {
  examples: Encoded[];
  comparisons: Encoded[][];
  questions: Asked[];
}

/** All records as tokens. */
export interface Tokens {
  train: Side;
  heldOut: Side;
  /** Of each other source its share, if it has one, and its examples. */
  beside: { share?: number; examples: Encoded[] }[];
}

type Progress = Extract<TuneEvent, { event: "prepare" }>;

/** Encodes all records, those of the exam as questions too. Yields its progress. */
export async function* encode(
  { train, heldOut, beside }: Records,
  learning: Learning,
  chat: Chat,
  signal: AbortSignal,
): AsyncGenerator<Progress, Tokens> {
  const tokens: Tokens = { train: emptySide(), heldOut: emptySide(), beside: [] };
  let done = 0;
  for (const [side, items, isExam] of [[tokens.train, train, false], [tokens.heldOut, heldOut, true]] as const) {
    for (const item of items) {
      signal.throwIfAborted();
      add(side, item, learning, chat, isExam);
      yield { event: "prepare", phase: "encoding", done: ++done };
    }
  }
  for (const { items, ...source } of beside) {
    const examples: Encoded[] = [];
    for (const { json, name, line } of items) {
      signal.throwIfAborted();
      examples.push(chat.demonstration(json, name, line));
      yield { event: "prepare", phase: "encoding", done: ++done };
    }
    tokens.beside.push({ ...source, examples });
  }
  return tokens;
}

function emptySide(): Side {
  return { examples: [], comparisons: [], questions: [] };
}

function add(side: Side, { json, name, line, judge }: Item, learning: Learning, chat: Chat, isExam: boolean): void {
  if (learning === "demonstrations") side.examples.push(chat.demonstration(json, name, line));
  if (learning === "comparisons") side.comparisons.push(chat.comparison(json, name, line));
  if (learning !== "questions" && !isExam) return;
  const question = chat.question(json, name, line);
  if (!question) return;
  const [ids, asked, answer] = question;
  side.questions.push({ ids, asked, answer, judge });
}

/** Tokens that suffice for the answers to these questions, and for answers half as long again. */
export function answerTokens(questions: Asked[], tokenizer: Tokenizer, chat: Chat): number {
  const longest = Math.max(0, ...questions.map(({ answer }) => tokenizer.encode(answer).length));
  return longest + Math.floor(longest / 2) + 1 + (chat.stopText?.length ?? 0);
}

/** The tokens of the longest text that a model has to see at once, its answer included. */
export function longest({ train, heldOut }: Tokens): number {
  let most = 1;
  for (const { examples, comparisons, questions } of [train, heldOut]) {
    for (const [ids] of examples) most = Math.max(most, ids.length);
    for (const answers of comparisons) for (const [ids] of answers) most = Math.max(most, ids.length);
    for (const { ids } of questions) most = Math.max(most, ids.length + 1);
  }
  return most;
}

/** How much a model has room for. */
export interface Room {
  /** Tokens that it sees at once. */
  contextLen: number;
  /** The most tokens of an answer. */
  maxTokens: number;
  tokenizer: Tokenizer;
}

/**
 * Puts all that fits into the engine's hands. Returns the questions of both sides in the order of their numbers, and
 * what had to be cut or left out, in words.
 */
export function fit(material: Material, { train, heldOut, beside }: Tokens, room: Room): { asked: [Asked[], Asked[]]; warnings: string[] } {
  const warnings: string[] = [];
  const asked = [train, heldOut].map((side, at) => {
    const isHeldOut = at === 1;
    const add: Add = (ids, learn) => material.example(isHeldOut, ids, learn);
    if (side.examples.length > 0) fitExamples(add, side.examples, room, warnings);
    if (side.comparisons.length > 0) fitComparisons(material, isHeldOut, side.comparisons, room, warnings);
    return side.questions.length > 0 ? fitQuestions(material, isHeldOut, side.questions, room, warnings) : [];
  });
  for (const { share, examples } of beside) {
    // Without a share it is the text of a stage that otherwise has only questions.
    if (share !== undefined) material.mix(share);
    fitExamples((ids, learn) => material.example(false, ids, learn), examples, room, warnings);
  }
  return { asked: asked as [Asked[], Asked[]], warnings };
}

/** Puts an example where it belongs. */
type Add = (ids: Uint32Array, learn: Uint8Array) => void;

function fitExamples(add: Add, all: Encoded[], { contextLen }: Room, warnings: string[]) {
  let [shortened, cut, lost, added] = [0, 0, 0, 0];
  for (let [ids, learn, isText] of all) {
    // A plain text goes on in a further example; the last token of each was only predicted, and is read next.
    for (; isText && ids.length > contextLen + 1; [ids, learn] = [ids.subarray(contextLen), learn.subarray(contextLen)]) {
      add(ids.subarray(0, contextLen + 1), learn.subarray(0, contextLen + 1));
      added += 1;
    }
    // The last token is only predicted, never read; and the first cannot be learnt: nothing comes before it.
    const n = Math.min(ids.length, contextLen + 1);
    if (n < ids.length) [shortened, cut] = [shortened + 1, cut + ids.length - n];
    if (!learn.subarray(1, n).includes(1)) lost += 1;
    else {
      add(ids.subarray(0, n), learn.subarray(0, n));
      added += 1;
    }
  }
  if (added === 0) {
    const expected = `at least one within the model's context of ${contextLen} tokens`;
    throw new ClocheError("DATA", `data: found no token to learn in ${lost} records, expected ${expected}`);
  }
  if (shortened > 0 || lost > 0) {
    warnings.push(
      `${shortened} of ${all.length} records are longer than the model's context of ${contextLen} tokens: ${cut} tokens ` +
        `were cut at their ends, and ${lost} records with nothing left to learn are left out`,
    );
  }
}

function fitComparisons(material: Material, heldOut: boolean, all: Encoded[][], { contextLen }: Room, warnings: string[]) {
  const fitting = all.filter((answers) => answers.length > 1 && answers.every(([ids]) => ids.length <= contextLen));
  if (fitting.length === 0) {
    const found = `found no comparison of ${all.length} that fits in the model's context of ${contextLen} tokens`;
    throw new ClocheError("DATA", `data: ${found}`);
  }
  for (const answers of fitting) {
    material.ranking(heldOut);
    for (const [ids, learn] of answers) material.answer(heldOut, ids, learn);
  }
  if (fitting.length < all.length) {
    warnings.push(
      `${all.length - fitting.length} of ${all.length} comparisons compare nothing, or are longer than the model's ` +
        `context of ${contextLen} tokens, and are left out`,
    );
  }
}

function fitQuestions(material: Material, heldOut: boolean, all: Asked[], room: Room, warnings: string[]): Asked[] {
  const { contextLen, maxTokens, tokenizer } = room;
  const fitting = all.filter(({ ids, answer }) => {
    // Of an answer, what the right one needs, and a token to end it.
    const needed = Math.min(tokenizer.encode(answer).length + 1, maxTokens);
    return ids.length <= Math.max(1, contextLen - needed);
  });
  const lost = all.length - fitting.length;
  if (fitting.length === 0) {
    const found = `no question of ${all.length} leaves room for its answer in the model's context of ${contextLen} tokens`;
    throw new ClocheError("DATA", `data: ${found}`);
  }
  if (lost > 0) {
    warnings.push(
      `${lost} of ${all.length} questions leave no room for their answers in the model's context of ${contextLen} tokens, ` +
        "and are left out",
    );
  }
  for (const { ids } of fitting) material.prompt(heldOut, ids);
  return fitting;
}

/** The function by which the engine has answers judged: of both sides' questions, or by `verifier` in their place. */
export function judgeOf(asked: [Asked[], Asked[]], chat: Chat, verifier?: Verifier) {
  return (heldOut: boolean, questions: Uint32Array, answers: Uint32Array[]) => {
    const verdicts = answers.map((ids, at) => {
      const question = asked[heldOut ? 1 : 0][questions[at]!]!;
      return verdictOf((verifier ?? question.judge)(chat.answer(ids), question));
    });
    return Float32Array.from(verdicts.flatMap(({ reward, correct }) => [reward, Number(correct)]));
  };
}
