/** Rows that a batch may change: loaded under locks, changed in memory, written at its end. */
export class WorkingRows<T> {
  readonly #all = new Map<string, T>();
  readonly #created = new Map<string, T>();
  readonly #changed = new Map<string, T>();

  /** By key, as they stand now. */
  get all(): ReadonlyMap<string, T> {
    return this.#all;
  }

  /** A row as it is stored. */
  load(key: string, row: T): void {
    this.#all.set(key, row);
  }

  /** A row that is new or has changed. */
  set(key: string, row: T): void {
    const isStored = this.#all.has(key) && !this.#created.has(key);
    (isStored ? this.#changed : this.#created).set(key, row);
    this.#all.set(key, row);
  }

  /** Those that are to be inserted. */
  created(): T[] {
    return [...this.#created.values()];
  }

  /** Those that are stored and have changed. */
  changed(): T[] {
    return [...this.#changed.values()];
  }
}
