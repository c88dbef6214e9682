export interface ModelStats {
  requests: number;
  completed: number;
  /** The client went away before the end. */
  aborted: number;
  /** Ended by a fault that was asked for. */
  faulted: number;
}

export interface SimulatorStats {
  readonly models: Readonly<Record<string, Readonly<ModelStats>>>;
  readonly openConnections: number;
  /** Requests whose response has not ended. */
  readonly activeRequests: number;
  /** How many requests came with each idempotency key, oldest first; the last 10,000 keys are kept. */
  readonly idempotencyKeys: ReadonlyMap<string, number>;
  /** How many content chunks were streamed for each of these keys: what a provider bills, whoever reads it. */
  readonly chunks: ReadonlyMap<string, number>;
}

const maxKeys = 10_000;

export function createStats() {
  const models = new Map<string, ModelStats>();
  const keys = new Map<string, number>();
  const chunks = new Map<string, number>();
  let openConnections = 0;
  let activeRequests = 0;
  return {
    connected(change: 1 | -1): void {
      openConnections += change;
    },
    /** Counts a request; gives which one of its key it is, from 1. */
    begin(model: string, key: string): number {
      const entry = models.get(model) ?? { requests: 0, completed: 0, aborted: 0, faulted: 0 };
      entry.requests += 1;
      models.set(model, entry);
      activeRequests += 1;
      const count = (keys.get(key) ?? 0) + 1;
      keys.set(key, count);
      if (keys.size > maxKeys) {
        const oldest = keys.keys().next();
        if (!oldest.done) keys.delete(oldest.value);
        if (!oldest.done) chunks.delete(oldest.value);
      }
      return count;
    },
    streamed(key: string, count: number): void {
      chunks.set(key, (chunks.get(key) ?? 0) + count);
    },
    end(model: string, how: 'completed' | 'aborted' | 'faulted'): void {
      activeRequests -= 1;
      const entry = models.get(model);
      if (entry !== undefined) entry[how] += 1;
    },
    read: (): SimulatorStats => ({
      models: Object.fromEntries([...models].map(([name, entry]) => [name, { ...entry }])),
      openConnections,
      activeRequests,
      idempotencyKeys: new Map(keys),
      chunks: new Map(chunks),
    }),
  };
}
