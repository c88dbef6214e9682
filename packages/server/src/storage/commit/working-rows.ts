/** Rows that a batch may change: loaded under locks, changed in memory, written at its end. */
export interface WorkingRows<T> {
  /** By key, as they stand now. */
  readonly all: ReadonlyMap<string, T>;
  /** A row as it is stored. */
  load(key: string, row: T): void;
  /** A row that is new or has changed. */
  set(key: string, row: T): void;
  /** Those that are to be inserted. */
  created(): T[];
  /** Those that are stored and have changed. */
  changed(): T[];
}

export function createWorkingRows<T>(): WorkingRows<T> {
  const all = new Map<string, T>();
  const stored = new Set<string>();
  const touched = new Map<string, T>();
  const pick = (isStored: boolean) => {
    const rows: T[] = [];
    for (const [key, row] of touched) if (stored.has(key) === isStored) rows.push(row);
    return rows;
  };
  return {
    all,
    load(key, row) {
      all.set(key, row);
      stored.add(key);
    },
    set(key, row) {
      all.set(key, row);
      touched.set(key, row);
    },
    created: () => pick(false),
    changed: () => pick(true),
  };
}
