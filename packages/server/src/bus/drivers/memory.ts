import type { Bus } from '../contract.ts';

/** Delivers what is published to the listeners of a topic, in order; a listener that throws is told to `onError`. */
export interface LocalBus extends Bus {
  /** Delivers at once to this process's listeners. */
  deliver(topic: string, message: string): void;
}

/** The bus inside one process. Every driver uses it for its own listeners, so that local delivery needs no network. */
export function createMemoryBus(options: { readonly onError: (error: unknown) => void }): LocalBus {
  const topics = new Map<string, Set<(message: string) => void>>();
  const deliver = (topic: string, message: string) => {
    for (const listener of topics.get(topic) ?? []) {
      try {
        listener(message);
      } catch (error) {
        options.onError(error);
      }
    }
  };
  return {
    spansProcesses: false,
    deliver,
    publish: deliver,
    subscribe(topic, listener) {
      // A fresh function for each subscription: the same listener may be subscribed twice.
      const own = (message: string) => listener(message);
      const listeners = topics.get(topic) ?? new Set();
      listeners.add(own);
      topics.set(topic, listeners);
      return () => {
        listeners.delete(own);
        if (listeners.size === 0 && topics.get(topic) === listeners) topics.delete(topic);
      };
    },
    async close() {
      topics.clear();
    },
  };
}
