/** The address: which lab, and how it is set up. `#/grow?preset=nano&steps=500` can be passed on. */

/** How a lab is set up; what changes is written into the address while the lab is shown. */
export class Setup {
  /** Whether its lab is the one that is shown: only then the address is its. */
  shown = false;
  readonly #lab: string;
  readonly #values: URLSearchParams;

  constructor(lab: string, values: URLSearchParams) {
    this.#lab = lab;
    this.#values = values;
  }

  get(name: string): string | undefined {
    return this.#values.get(name) ?? undefined;
  }

  /** Keeps some values, or forgets those that are undefined. */
  set(changes: Record<string, string | number | undefined>): void {
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) this.#values.delete(name);
      else this.#values.set(name, String(value));
    }
    this.write();
  }

  /** Whether the address asks for something else. */
  differs(values: URLSearchParams): boolean {
    return values.size > 0 && values.toString() !== this.#values.toString();
  }

  /** Writes itself into the address, without a new entry in the history. */
  write(): void {
    if (!this.shown) return;
    const values = this.#values.toString();
    history.replaceState(null, "", `#/${this.#lab}${values && `?${values}`}`);
  }
}

/** The lab that the address names, nothing for the first page, and its setup. */
export function route(): { lab: string; values: URLSearchParams } {
  const [path = "", values = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { lab: path, values: new URLSearchParams(values) };
}
