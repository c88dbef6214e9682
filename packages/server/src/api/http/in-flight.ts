/** Counts requests in flight. */
export interface InFlight {
  add(change: 1 | -1): void;
  /** Resolves when nothing is left. */
  none(): Promise<void>;
}

export function createInFlight(): InFlight {
  let count = 0;
  let onNone: () => void = () => undefined;
  return {
    add(change) {
      count += change;
      if (count === 0) onNone();
    },
    none: () =>
      new Promise((resolve) => {
        if (count === 0) return resolve();
        onNone = resolve;
      }),
  };
}
