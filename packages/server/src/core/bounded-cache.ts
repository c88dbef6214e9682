import { LRUCache } from 'lru-cache';

/**
 * A cache of at most so many entries; the one that was asked for longest ago goes first. Each weighs one instead of the cache
 * being told their number: it would then set its whole room aside at once, in every process that never fills it.
 */
export function createCountedCache<K extends {}, V extends {}>(maxEntries: number): LRUCache<K, V> {
  return new LRUCache<K, V>({ maxSize: maxEntries, sizeCalculation: () => 1 });
}
