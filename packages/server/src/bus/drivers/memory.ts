import type { Bus } from '../contract.ts';

/** Delivers what is published to the listeners of a topic, in order; a listener that throws is told to `onError`. */
export interface LocalBus extends Bus {
  /** Delivers at once to this process's listeners. */
  deliver(topic: string, message: string): void;
}

interface Subscription {
  readonly number: number;
  readonly listener: (message: string) => void;
}

/** The bus inside one process. Every driver uses it for its own listeners, so that local delivery needs no network. */
export function createMemoryBus(options: { readonly onError: (error: unknown) => void }): LocalBus {
  const topics = new Map<string, Set<Subscription>>();
  let newest = 0;
  const deliver = (topic: string, message: string) => {
    const last = newest;
    for (const { number, listener } of topics.get(topic) ?? []) {
      if (number > last) break; // it came while the message was delivered, as all after it did
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
      const own: Subscription = { number: ++newest, listener }; // the same listener may be subscribed twice
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
