import { setTimeout as sleep } from 'node:timers/promises';
import type { NewEvent } from '@nexus-agent/protocol';
import type { Clock } from '../../packages/server/src/core/index.ts';
import { createModelService, type ModelService } from '../../packages/server/src/llm/index.ts';
import { createSimProvider } from '../../packages/server/src/llm/providers/index.ts';
import type { Commit, Store } from '../../packages/server/src/storage/index.ts';

/**
 * Holds runs at exact points of their lives, so that a kill finds each where a test wants it. A run says in its input
 * where (`hold=<point>`). A commit is named by an event in it: `run.created`, `model.completed:<step>`,
 * `tool.completed:<probe>`, …
 *
 *     before:<commit>         it was asked for and nothing of it is written: the effect is done, its outcome would be lost
 *     after:<commit>          it is durable and nobody has acted on it: what it announces has not begun
 *     model:<step>:sent       the request is under way and nothing of the answer is here
 *     model:<step>:streaming  the first text of the answer has been handed on
 *     model:<step>:answered   the answer is whole and the engine has not seen its end
 *     tool:<probe>:entered    the tool runs and has not touched the outside world
 *     tool:<probe>:effected   it has, and has not returned
 *     tool:<name>:written     a tool that works in the session's folder has written there, and has not returned
 */
export interface Holds {
  /** Pending for as long as the run is held at this point. */
  reach(runId: string, point: string): Promise<void>;
  named(runId: string, input: string): void;
  runOf(input: string): string | undefined;
  /** Everything held goes on, and nothing is held any more. */
  release(): void;
}

/** `asked` holds where the input says, `resumed` at the taking up of a run: before it for every second one, else after it. */
export function createHolds(mode: 'none' | 'asked' | 'resumed', onHeld: (runId: string, point: string) => void): Holds {
  const points = new Map<string, string>();
  const runs = new Map<string, string>();
  let released = mode === 'none';
  let release: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  let resumed = 0;

  return {
    async reach(runId, point) {
      if (released) return;
      if (mode === 'resumed' && point === 'before:run.resumed') {
        resumed += 1;
        points.set(runId, resumed % 2 === 0 ? 'before:run.resumed' : 'after:run.resumed');
      }
      if (points.get(runId) !== point) return;
      onHeld(runId, point);
      await gate;
    },
    named(runId, input) {
      const point = /hold=(\S+)/.exec(input)?.[1];
      if (mode === 'asked' && point !== undefined) points.set(runId, point);
      runs.set(input, runId);
    },
    runOf: (input) => runs.get(input),
    release() {
      released = true;
      release();
    },
  };
}

/** The simulator's models. The step is told by the number of answers before it, the run by its input, which must differ. */
export function holdingModels(options: {
  readonly simulatorUrl: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly holds: Holds;
}): {
  readonly llm: ModelService;
  readonly defaultModels: readonly string[];
  close(): Promise<void>;
} {
  const { simulatorUrl, clock, random, holds } = options;
  const llm = createModelService({ providers: [createSimProvider({ name: 'sim', url: simulatorUrl, clock })], clock, random });
  return {
    defaultModels: ['sim/sim-large'],
    close: () => llm.close(),
    llm: {
      ...llm,
      async *attempt(message, options) {
        const step = 1 + message.request.messages.filter(({ role }) => role === 'assistant').length;
        const runId = holds.runOf(textOf(message.request.messages[0])) ?? '';
        const parts = llm.attempt(message, options)[Symbol.asyncIterator]();
        try {
          for (;;) {
            const pending = parts.next();
            // The request is written when the first part is asked for; the simulator takes its time to answer.
            await Promise.race([pending, sleep(5)]);
            await holds.reach(runId, `model:${step}:sent`);
            const { value: part, done } = await pending;
            if (done) return;
            if (part.type === 'completed') await holds.reach(runId, `model:${step}:answered`);
            yield part;
            if (part.type === 'text.delta') await holds.reach(runId, `model:${step}:streaming`);
          }
        } finally {
          await parts.return?.();
        }
      },
    },
  };
}

function textOf(message: { readonly content: readonly object[] } | undefined): string {
  const [part] = message?.content ?? [];
  return part !== undefined && 'text' in part ? String(part.text) : '';
}

/** A store that holds runs before and after their commits. */
export function holdingStore(store: Store, options: { readonly holds: Holds; readonly claimsNothing: boolean }): Store {
  const { holds, claimsNothing } = options;
  const probes = new Map<string, string>();
  return {
    ...store,
    async commit(commit) {
      const runId = commit.createRun?.runId ?? commit.run?.runId ?? '';
      const events = eventsOf(commit);
      for (const event of events) if (event.type === 'run.created') holds.named(runId, textOf({ content: event.data.input }));
      const names = events.map((event) => nameOf(event, probes));
      for (const name of names) await holds.reach(runId, `before:${name}`);
      const result = await store.commit(commit);
      if (result.type === 'committed') for (const name of names) await holds.reach(runId, `after:${name}`);
      return result;
    },
    ...(claimsNothing ? { claimRuns: async () => [] } : {}),
  };
}

/** What will be written, whatever the ledger answers: only the events of the budget depend on that. */
function eventsOf(commit: Commit): readonly NewEvent[] {
  return typeof commit.events === 'function' ? commit.events([]) : (commit.events ?? []);
}

function nameOf(event: NewEvent, probes: Map<string, string>): string {
  switch (event.type) {
    case 'model.started':
    case 'model.completed':
      return `${event.type}:${event.data.step}`;
    case 'tool.requested': {
      const { input, callId } = event.data;
      if (typeof input === 'object' && input !== null && 'name' in input) probes.set(callId, String(input.name));
      if (typeof input === 'object' && input !== null && 'path' in input) probes.set(callId, String(input.path));
      return `${event.type}:${probes.get(callId)}`;
    }
    case 'tool.started':
    case 'tool.completed':
      return `${event.type}:${probes.get(event.data.callId)}`;
    default:
      return event.type;
  }
}
