/** What the attributes of an element may be. A wrong one is named in place, and the default is taken. */
import type { PropertyDeclaration } from "lit";

/** Reads an attribute's text, or says in words what was expected. */
export interface Rule<T> {
  expected: string;
  read(text: string): T | undefined;
}

/** A property with an attribute, the attribute's rule and the value where there is none. */
export interface Setting<T> extends PropertyDeclaration<T> {
  rule: Rule<T>;
  initial: T;
}

/** Declares a property; its attribute has the property's name in small letters where none is given. */
export function setting<T>(rule: Rule<T>, initial: T, attribute?: string): Setting<T> {
  const fromAttribute = (text: string | null) => (text === null ? initial : (rule.read(text) ?? initial));
  return { rule, initial, converter: { fromAttribute }, ...(attribute && { attribute }) };
}

/** A property that is true where its attribute is there. */
export function flag(attribute?: string): Setting<boolean> {
  const rule = { expected: "nothing", read: () => true };
  return { rule, initial: false, type: Boolean, ...(attribute && { attribute }) };
}

/** A property that has no attribute. */
export function property<T>(initial: T): PropertyDeclaration & { initial: T } {
  return { initial, attribute: false };
}

export function oneOf<const T extends string>(...values: T[]): Rule<T> {
  return { expected: `one of ${values.join(", ")}`, read: (text) => values.find((value) => value === text) };
}

/** Words with spaces between, each from a list: what an element shall hide. */
export function anyOf<const T extends string>(...values: T[]): Rule<T[]> {
  const read = (text: string) => {
    const words = text.split(/\s+/).filter(Boolean) as T[];
    return words.every((word) => values.includes(word)) ? words : undefined;
  };
  return { expected: `words among ${values.join(", ")}`, read };
}

export function integer(min: number, max: number): Rule<number> {
  return ranged(`a whole number from ${min} to ${max}`, min, max, Number.isInteger);
}

export function number(min: number, max: number): Rule<number> {
  return ranged(`a number from ${min} to ${max}`, min, max, Number.isFinite);
}

function ranged(expected: string, min: number, max: number, fits: (n: number) => boolean): Rule<number> {
  const read = (text: string) => {
    const n = text.trim() === "" ? NaN : Number(text);
    return fits(n) && n >= min && n <= max ? n : undefined;
  };
  return { expected, read };
}

export const anyText: Rule<string> = { expected: "a text", read: (text) => text };

export const tokenizerKind: Rule<string> = {
  expected: "char, byte or bpe:SIZE",
  read: (text) => (/^(char|byte|bpe:[1-9]\d{0,5})$/.test(text) ? text : undefined),
};
