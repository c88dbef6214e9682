import type { Run, WireEvent } from '@nexus-agent/protocol';
import type { NexusClient } from '@nexus-agent/sdk';
import type { ConfigInput } from '#apps/config';
import { NexusError } from '#core';
import { createNarrator } from './narrator.ts';
import type { DemoServer } from './server.ts';
import type { Stage } from './stage.ts';

/** What the scenes share. They reach the platform by `client` only, as any other program would. */
export interface Demo {
  readonly stage: Stage;
  readonly server: DemoServer;
  readonly client: NexusClient;
  readonly config: ConfigInput;
  readonly version: string;
  readonly examples: string;
  readonly signal: AbortSignal;
  /** Ids of the runs so far, in order. */
  readonly runs: string[];
}

export type WireJournalEvent = Extract<WireEvent, { seq: number }>;

export function isJournalEvent(event: WireEvent): event is WireJournalEvent {
  return 'seq' in event;
}

/** The simulator's pace, so that its answer can be seen to stream. */
export const paced = 'sim/sim-large?latencyMs=120&tokensPerSecond=160';

/** Prints a run as it happens, to its end or to the first event for which `until` is true. Gives its journal so far. */
export async function watchRun(
  demo: Demo,
  events: AsyncIterable<WireEvent>,
  { narrator = createNarrator(demo.stage), until = () => false }: WatchOptions = {},
): Promise<WireJournalEvent[]> {
  const journal: WireJournalEvent[] = [];
  for await (const event of events) {
    if (event.type === 'run.created' && !demo.runs.includes(event.runId)) demo.runs.push(event.runId);
    narrator.tell(event);
    if (isJournalEvent(event)) journal.push(event);
    if (until(event)) break;
  }
  return journal;
}

interface WatchOptions {
  readonly narrator?: ReturnType<typeof createNarrator>;
  readonly until?: (event: WireEvent) => boolean;
}

/** The whole journal of a run, read page by page. */
export async function journalOf({ client, signal }: Demo, runId: string): Promise<WireJournalEvent[]> {
  const journal: WireJournalEvent[] = [];
  let after = '0';
  for (;;) {
    const page = await client.runs.events(runId, { after, limit: 1000, signal });
    journal.push(...page.data.filter(isJournalEvent));
    if (page.nextCursor === null) return journal;
    after = page.nextCursor;
  }
}

/** The demo shows what it says or fails: `check` is how a scene makes sure of it. */
export function check(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new NexusError('internal', `the demo expected otherwise: ${otherwise}`);
}

export function expectCompleted(run: Run): void {
  check(run.status === 'completed', `run ${run.id} is ${run.status}${run.error === undefined ? '' : `: ${run.error.message}`}`);
}

export function ofType<T extends WireJournalEvent['type']>(
  journal: readonly WireJournalEvent[],
  type: T,
): Extract<WireJournalEvent, { type: T }>[] {
  return journal.filter((event): event is Extract<WireJournalEvent, { type: T }> => event.type === type);
}

/** Calls that finished and were started again all the same. There must be none. */
export function repeatedSteps(journal: readonly WireJournalEvent[]): string[] {
  const finished = new Set<string>();
  const repeated: string[] = [];
  for (const event of journal) {
    if (event.type === 'model.completed' || event.type === 'tool.completed') finished.add(event.data.callId);
    if ((event.type === 'model.started' || event.type === 'tool.started') && finished.has(event.data.callId))
      repeated.push(event.data.callId);
  }
  return repeated;
}
