/** Text up to the first stop string, with what might yet become one held back. */
export class Held {
  readonly #stops: string[];
  readonly #longest: number;
  #text = "";
  /** Whether a stop string has come. */
  ended = false;

  constructor(stops: string[]) {
    this.#stops = stops.filter((stop) => stop !== "");
    this.#longest = Math.max(0, ...this.#stops.map((stop) => stop.length));
  }

  /** What can be passed on. */
  push(piece: string): string {
    if (this.ended) return "";
    this.#text += piece;
    const found = this.#stops.map((stop) => this.#text.indexOf(stop)).filter((at) => at >= 0);
    this.ended = found.length > 0;
    let ready = this.ended ? Math.min(...found) : Math.max(0, this.#text.length - Math.max(0, this.#longest - 1));
    // Never between the halves of a character.
    if (!this.ended && /[\uD800-\uDBFF]/.test(this.#text.charAt(ready - 1))) ready -= 1;
    const text = this.#text.slice(0, ready);
    this.#text = this.ended ? "" : this.#text.slice(ready);
    return text;
  }

  /** What was held back, when nothing follows. */
  rest(): string {
    return this.#text;
  }
}
