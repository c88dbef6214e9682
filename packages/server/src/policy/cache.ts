/**
 * A bounded cache that forgets what was not used lately: two generations, the older dropped when the younger is full.
 * It holds between `size` and `2 x size` of the entries used last, and a hit costs one look-up.
 */
export function createCache<Value>(size: number): { get(key: string): Value | undefined; set(key: string, value: Value): void } {
  let young = new Map<string, Value>();
  let old = new Map<string, Value>();

  function set(key: string, value: Value): void {
    if (young.size >= size) {
      old = young;
      young = new Map();
    }
    young.set(key, value);
  }

  return {
    set,
    get(key) {
      const recent = young.get(key);
      if (recent !== undefined) return recent;
      const earlier = old.get(key);
      if (earlier !== undefined) set(key, earlier);
      return earlier;
    },
  };
}
