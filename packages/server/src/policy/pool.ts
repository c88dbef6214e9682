/**
 * Named slots of something that cannot be freed, only overwritten. `get` gives the slot that holds `key`, filling one
 * when none does; the least recently used slots are emptied and used again to stay within the bounds.
 */
export function createPool<Value>(options: {
  readonly maxEntries: number;
  readonly maxWeight: number;
  readonly weigh: (value: Value) => number;
  readonly fill: (slot: string, value: Value) => void;
  readonly empty: (slot: string) => void;
}): { get(key: string, value: () => Value): string } {
  const held = new Map<string, { readonly slot: string; readonly weight: number }>();
  const free: string[] = [];
  let weightHeld = 0;
  let made = 0;

  function evictOldest(): void {
    const oldest = held.entries().next();
    if (oldest.done) return;
    const [key, { slot, weight }] = oldest.value;
    held.delete(key);
    weightHeld -= weight;
    options.empty(slot);
    free.push(slot);
  }

  return {
    get(key, value) {
      const found = held.get(key);
      if (found !== undefined) {
        held.delete(key);
        held.set(key, found);
        return found.slot;
      }
      const content = value();
      const weight = options.weigh(content);
      while (held.size > 0 && (held.size >= options.maxEntries || weightHeld + weight > options.maxWeight)) evictOldest();
      const slot = free.pop() ?? `slot-${made++}`;
      try {
        options.fill(slot, content);
      } catch (error) {
        free.push(slot);
        throw error;
      }
      held.set(key, { slot, weight });
      weightHeld += weight;
      return slot;
    },
  };
}
