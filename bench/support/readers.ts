import { type Started, start } from './processes.ts';

export interface Heard {
  readonly deltas: number;
  readonly bytes: number;
  /** From when the model sent a delta until a reader had it, in ms; NaN when deltas do not say when they were sent. */
  readonly p50: number;
  readonly p99: number;
}

export interface Readers {
  /** Opens so many more streams; resolves once each has begun. With a `body` it is sent by POST. */
  open(request: { readonly count: number; readonly url: string; readonly path: string; readonly body?: string }): Promise<void>;
  /** What all of them get in so many ms. Percentiles are the mean of those of the processes. */
  measure(ms: number): Promise<Heard>;
  /** Leaves all streams; more may be opened. */
  leave(): Promise<void>;
  stop(): Promise<void>;
}

/** Readers in processes of their own, each of which has its own descriptors. */
export function startReaders(processes: number): Readers {
  const children = Array.from({ length: processes }, () => start('readers.mjs'));
  const ask = async <Answer>(child: Started, command: unknown): Promise<Answer> => {
    child.child.stdin?.write(`${JSON.stringify(command)}\n`);
    return JSON.parse(await child.line()) as Answer; // printed by readers.mjs
  };
  const askAll = <Answer>(commandOf: (index: number) => unknown) =>
    Promise.all(children.map((child, index) => ask<Answer>(child, commandOf(index))));
  return {
    async open({ count, ...request }) {
      const share = (index: number) => Math.floor((count + index) / processes);
      await askAll((index) => ({ open: share(index), ...request }));
    },
    async measure(ms) {
      const heard = await askAll<{ deltas: number; bytes: number; p50: number | null; p99: number | null }>(() => ({ measure: ms }));
      const sum = (of: 'deltas' | 'bytes') => heard.reduce((total, each) => total + each[of], 0);
      const mean = (of: 'p50' | 'p99') => heard.reduce((total, each) => total + (each[of] ?? Number.NaN), 0) / heard.length;
      return { deltas: sum('deltas'), bytes: sum('bytes'), p50: mean('p50'), p99: mean('p99') };
    },
    leave: async () => void (await askAll(() => ({ close: true }))),
    stop: async () => void (await Promise.all(children.map((child) => child.stop()))),
  };
}
