import type { Driver } from '#storage/drivers';
import { type Raw, selectAll } from './rows.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/** An event of a journal, and when it came: after how many transactions, and at what time of the world. */
export interface StoryEvent {
  readonly seq: number;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly commit: number;
  readonly at: number;
}

/** A run as it was seen from outside, transaction by transaction. It stays known when it is deleted. */
export interface Story {
  readonly runId: string;
  readonly sessionId: string;
  readonly parentRunId: string | null;
  readonly agent: string;
  /** Its place in the log of its session, with its id. */
  readonly createdAt: number;
  readonly events: readonly StoryEvent[];
  /** After how many transactions each epoch was seen first. */
  readonly claims: ReadonlyMap<number, number>;
  readonly status: string;
  readonly isGone: boolean;
}

export interface Listener {
  /** Hears of each event, in the order of the journals. */
  event?(story: Story, event: StoryEvent): Promise<void> | void;
  /** The run is not there any more. */
  gone?(story: Story): void;
}

/** `row`: null for one that is not there any more. */
export interface TouchedRun {
  readonly runId: string;
  readonly row: Raw | null;
}

/** What was committed, in the order in which it was: kept beside the database, which only knows the order within a run. */
export interface Chronicle {
  /** Transactions so far. */
  readonly commits: number;
  readonly stories: ReadonlyMap<string, Story>;
  /** The run that announced this call of a model or a tool; undefined where none did. */
  ofCall(callId: string): Story | undefined;
  /** Takes in what the transaction before has written of these runs; throws {@link Violation} where it changed what was there. */
  afterCommit(runs: readonly TouchedRun[]): Promise<void>;
  listen(listener: Listener): void;
}

type Writable = { -readonly [Key in keyof Story]: Story[Key] } & { readonly events: StoryEvent[]; readonly claims: Map<number, number> };

export function createChronicle(world: World, database: Driver): Chronicle {
  const stories = new Map<string, Writable>();
  const calls = new Map<string, Story>();
  const listeners: Listener[] = [];
  let commits = 0;

  function storyOf(row: Raw): Writable {
    const runId = String(row.run_id);
    const known = stories.get(runId);
    if (known !== undefined) return known;
    const made: Writable = {
      ...{ runId, sessionId: String(row.session_id), agent: String(row.agent), createdAt: Number(row.created_at) },
      parentRunId: row.parent_run_id === null || row.parent_run_id === undefined ? null : String(row.parent_run_id),
      ...{ events: [], claims: new Map(), status: String(row.status), isGone: false },
    };
    stories.set(runId, made);
    return made;
  }

  async function takeIn(story: Writable): Promise<void> {
    const rows = await selectAll(
      database,
      'select seq, type, data from run_events where run_id = ? and seq > ? order by seq',
      story.runId,
      story.events.length,
    );
    for (const { seq, type, data } of rows) {
      if (seq !== story.events.length + 1) throw new Violation(`journal: ${story.runId} has event ${seq} after ${story.events.length}`);
      const event: StoryEvent = { seq, type: String(type), data: JSON.parse(String(data)), commit: commits, at: world.now };
      story.events.push(event);
      if (event.type === 'model.started' || event.type === 'tool.requested') calls.set(String(event.data.callId), story);
      for (const listener of listeners) await listener.event?.(story, event);
    }
  }

  async function see(row: Raw): Promise<void> {
    const story = storyOf(row);
    story.status = String(row.status);
    if (row.lease_owner !== null && !story.claims.has(Number(row.epoch))) story.claims.set(Number(row.epoch), commits);
    await takeIn(story);
    if (Number(row.last_seq) !== story.events.length)
      throw new Violation(`journal: ${story.runId} has ${story.events.length} events, its row says ${row.last_seq}`);
  }

  return {
    get commits() {
      return commits;
    },
    stories,
    ofCall: (callId) => calls.get(callId),
    listen: (listener) => void listeners.push(listener),
    async afterCommit(runs) {
      commits += 1;
      for (const { runId, row } of runs) {
        if (row !== null) await see(row);
        const story = stories.get(runId);
        if (row !== null || story === undefined || story.isGone) continue;
        story.isGone = true;
        for (const listener of listeners) listener.gone?.(story);
      }
    },
  };
}
