import type { Store } from '#storage';

export interface StoreFaults {
  /** The store as the platform sees it. */
  wrap(store: Store): Store;
  /**
   * From now on calls of this method fail, or do what the function says, which may do the work as well; the first `after` of them work. The returned
   * function ends it.
   */
  fail(method: keyof Store, fault: Error | ((work: () => unknown) => Promise<never>), options?: { readonly after?: number }): () => void;
}

/** A real store that fails where a test says. */
export function createStoreFaults(): StoreFaults {
  const faults = new Map<string | symbol, { left: number; readonly answer: (work: () => unknown) => Promise<never> }>();
  return {
    wrap: (store) =>
      new Proxy(store, {
        get(target, name) {
          const member: unknown = Reflect.get(target, name);
          if (typeof member !== 'function') return member;
          return (...values: unknown[]): unknown => {
            const fault = faults.get(name);
            const work = () => Reflect.apply(member, target, values) as unknown;
            if (fault !== undefined && fault.left-- <= 0) return fault.answer(work);
            return work();
          };
        },
      }),
    fail(method, fault, { after = 0 } = {}) {
      faults.set(method, { left: after, answer: typeof fault === 'function' ? fault : () => Promise.reject(fault) });
      return () => void faults.delete(method);
    },
  };
}
