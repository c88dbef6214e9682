import { LRUCache } from 'lru-cache';

/**
 * Named slots of something that cannot be freed, only overwritten. `get` gives the slot that holds `key`, filling one
 * when none does; the least recently used slots are emptied and used again to stay within the bounds. A value that weighs
 * more than all may weigh together is held alone.
 */
export function createPool<Value>(options: {
  readonly maxEntries: number;
  readonly maxWeight: number;
  readonly weigh: (value: Value) => number;
  readonly fill: (slot: string, value: Value) => void;
  readonly empty: (slot: string) => void;
}): { get(key: string, value: () => Value): string } {
  const free: string[] = [];
  let made = 0;
  const held = new LRUCache<string, { slot: string; readonly weight: number }>({
    max: options.maxEntries,
    maxSize: options.maxWeight,
    sizeCalculation: ({ weight }) => weight,
    dispose({ slot }) {
      options.empty(slot);
      free.push(slot);
    },
  });

  return {
    get(key, value) {
      const found = held.get(key);
      if (found !== undefined) return found.slot;
      const content = value();
      const entry = { slot: '', weight: Math.min(Math.max(1, options.weigh(content)), options.maxWeight) };
      // It takes its place first: what has to go for it leaves a slot behind.
      held.set(key, entry);
      entry.slot = free.pop() ?? `slot-${made++}`;
      try {
        options.fill(entry.slot, content);
      } catch (error) {
        held.delete(key);
        throw error;
      }
      return entry.slot;
    },
  };
}
