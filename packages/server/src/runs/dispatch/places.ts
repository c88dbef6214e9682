/** Room for runs in this process: those that are driven and those that are on their way together are never more than it may drive. */
export interface Places {
  readonly free: number;
  /** Nothing is driven here, and nothing is on its way. */
  readonly isEmpty: boolean;
  /** Holds places until the returned function is called for the first time: what was on its way is driven by then, or never will be. */
  hold(count: number): () => void;
}

export interface PlacesOptions {
  readonly most: number;
  /** Runs that are driven now. */
  readonly live: () => number;
  /** Called when places are given back. */
  readonly freed: () => void;
}

export function createPlaces({ most, live, freed }: PlacesOptions): Places {
  let held = 0;
  return {
    get free() {
      return most - live() - held;
    },
    get isEmpty() {
      return live() + held === 0;
    },
    hold(count) {
      held += count;
      let left = false;
      return () => {
        if (left) return;
        left = true;
        held -= count;
        freed();
      };
    },
  };
}
