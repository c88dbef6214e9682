import type { RunId, RunReading, SessionId, SessionReading, TenantId } from '@nexus-agent/protocol';
import { LRUCache } from 'lru-cache';
import { NexusError } from '#core';
import { measureMessage } from '#llm';
import type { PageOf, RunRow, RunStore } from '#storage';
import { applyReadings, emptyView, type LogView, openRuns, type ReadTurns, shownMessages, withSummary, writtenOut } from './log-view.ts';
import type { RunState } from './state.ts';
import { loadState, readJournal, type Transcript, toJournalEvent } from './transcript.ts';
import { type RunTurn, TurnReader } from './turn.ts';

type LogStore = Pick<RunStore, 'readEvents' | 'getRun' | 'listRuns'>;

/** A run and the session whose log it is in. */
interface LogPlace {
  readonly tenantId: TenantId;
  readonly sessionId: SessionId;
  readonly runId: RunId;
}

export interface Transcripts {
  /**
   * Reads the log of the session for a run that is to begin: every run that people started before it, as it stands now.
   *
   * @param created when the run was created; null when it is not in the log yet and is to be its newest
   * @param unlessBusy nothing but the head is read where that is at work or waits for it: many may wait, and each would be read
   */
  read(
    place: LogPlace,
    created: number | null,
    unlessBusy?: boolean,
  ): Promise<{ readonly reading: SessionReading; readonly head: RunRow | null }>;
  /** What a run is shown by its reading: always the same. Throws `replay_diverged` for a damaged journal. */
  before(place: LogPlace, reading: SessionReading): Promise<Transcript>;
  /** What a run without a reading is shown: the run of this id, and those that it went on from. */
  chain(tenantId: TenantId, runId: RunId): Promise<Transcript>;
}

const pageSize = 50;
/** What a message costs in the list of a view that holds it, beside its text. */
const referenceChars = 16;

/**
 * Reads logs of sessions. What the newest run of a session was shown is kept for the next one, while all that is kept takes
 * at most `maxChars`; the session that was asked for longest ago goes first.
 */
export function createTranscripts(store: LogStore, maxChars: number): Transcripts {
  const cache = new LRUCache<string, { readonly key: string; readonly view: LogView }>({
    maxSize: maxChars,
    sizeCalculation: ({ key, view }) =>
      view.turns.reduce(
        (sum, { turn }) => sum + turn.chars + turn.messages.length * referenceChars,
        key.length + (view.summary?.length ?? 0),
      ),
  });

  async function readTurn(tenantId: TenantId, read: RunReading): Promise<RunTurn> {
    const reader = new TurnReader();
    let chars = 0;
    for await (const event of readJournal(store, tenantId, read.runId as RunId)) {
      if (event.seq > read.seq) break;
      chars += event.data.length;
      reader.add(toJournalEvent(event));
    }
    const { original } = reader;
    const turn = reader.turn(read, chars, original !== undefined && (await isInLog(tenantId, original)));
    // A turn at a time: whoever asks the model would measure the whole session at once.
    for (const message of turn.messages) measureMessage(message);
    return turn;
  }

  /** Sub-agents' runs are not in the log; a fork of one is. */
  async function isInLog(tenantId: TenantId, runId: string): Promise<boolean> {
    const [first] = await store.readEvents(tenantId, runId as RunId, { after: 0, limit: 1 }); // an original is a run
    const created = first === undefined ? null : toJournalEvent(first);
    return created?.type === 'run.created' && created.data.parent === undefined;
  }

  async function* newestFirst({ tenantId, sessionId }: LogPlace): AsyncGenerator<RunRow> {
    let cursor: string | null = null;
    do {
      const page: PageOf<RunRow> = await store.listRuns(
        tenantId,
        { sessionId, parentRunId: null },
        { limit: pageSize, ...(cursor === null ? {} : { cursor }) },
      );
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== null);
  }

  async function changedSince(tenantId: TenantId, view: LogView): Promise<readonly RunTurn[]> {
    const reads = openRuns(view);
    const rows = await Promise.all(reads.map(({ runId }) => store.getRun(tenantId, runId as RunId))); // readings hold run ids
    const changed: RunTurn[] = [];
    for (const [index, read] of reads.entries()) {
      const row = rows[index];
      if (row && row.lastSeq !== read.seq) changed.push(await readTurn(tenantId, { ...read, seq: row.lastSeq }));
    }
    return changed;
  }

  async function viewBefore(place: LogPlace, reading: SessionReading): Promise<LogView> {
    const steps: ReadTurns[] = [];
    const kept = cache.get(sessionKey(place));
    let at: { readonly runId: string; readonly reading: SessionReading } = { runId: place.runId, reading };
    let view: LogView | undefined;
    while (view === undefined) {
      if (kept?.key === viewKey(at.runId, at.reading)) {
        view = kept.view;
        break;
      }
      const turns = new Map<string, RunTurn>();
      for (const read of at.reading.runs) turns.set(read.runId, await readTurn(place.tenantId, read));
      steps.push({ reading: at.reading, turnOf: (read) => turnIn(turns, read) });
      const { after, summary } = at.reading;
      if (after === undefined) {
        const text = summary === undefined ? null : (await readTurn(place.tenantId, { ...summary, at: 0 })).summary?.text;
        view = { ...emptyView, summary: text ?? null };
      } else {
        const next = turns.get(after)?.reading;
        if (next === undefined) throw new NexusError('replay_diverged', `the journal of run ${after} does not say what it was shown`);
        at = { runId: after, reading: next };
      }
    }
    view = applyReadings(view, steps.reverse());
    keep(place, reading, view);
    return view;
  }

  function keep(place: LogPlace, reading: SessionReading, view: LogView): void {
    cache.set(sessionKey(place), { key: viewKey(place.runId, reading), view });
  }

  return {
    async read(place, created, unlessBusy = false) {
      const { tenantId } = place;
      const news: RunTurn[] = [];
      let head: RunRow | null = null;
      for await (const row of newestFirst(place)) {
        head ??= row;
        if (unlessBusy && (head.status === 'running' || head.status === 'queued')) return { reading: { runs: [] }, head };
        if (created !== null && (row.createdAt > created || (row.createdAt === created && row.runId >= place.runId))) continue;
        const turn = await readTurn(tenantId, { runId: row.runId, seq: row.lastSeq, at: row.createdAt });
        news.unshift(turn);
        // Whatever came before this one, it was shown.
        if (turn.reading !== undefined) break;
      }
      const base = news[0];
      if (base?.reading === undefined) return { reading: { runs: news.map(({ read }) => read) }, head };
      const earlier = await viewBefore({ ...place, runId: base.read.runId as RunId }, base.reading); // readings hold run ids
      const turns = [...(await changedSince(tenantId, earlier)), ...news];
      const byId = new Map(turns.map((turn) => [turn.read.runId, turn]));
      const whole = (view: LogView, runs: readonly RunTurn[]) =>
        applyReadings(view, [{ reading: { runs: runs.map(({ read }) => read) }, turnOf: (read) => turnIn(byId, read) }]);
      const { summary } = base;
      if (summary === null) {
        const reading = { after: base.read.runId, runs: turns.map(({ read }) => read) };
        keep(place, reading, whole(earlier, turns));
        return { reading, head };
      }
      const rest = turns.filter((turn) => turn !== base);
      const view = whole(withSummary(earlier, base, summary.text, summary.replaces), rest);
      const reading = writtenOut(view, { runId: base.read.runId, seq: base.read.seq });
      keep(place, reading, view);
      return { reading, head };
    },
    async before(place, reading) {
      const view = await viewBefore(place, reading);
      return { messages: shownMessages(view), summary: view.summary === null ? null : { text: view.summary, replaces: 0 } };
    },
    async chain(tenantId, runId) {
      const states: RunState[] = [];
      for (let next: string | undefined = runId; next !== undefined; next = states.at(-1)?.created?.history[0])
        states.push(await loadState(store, tenantId, next as RunId)); // history holds run ids
      const summary = states.find((state) => state.summary !== null)?.summary ?? null;
      return { messages: states.reverse().flatMap(({ messages }) => messages), summary };
    },
  };
}

function sessionKey({ tenantId, sessionId }: LogPlace): string {
  return `${tenantId}/${sessionId}`;
}

function viewKey(runId: string, reading: SessionReading): string {
  return `${runId} ${JSON.stringify(reading)}`;
}

function turnIn(turns: ReadonlyMap<string, RunTurn>, { runId }: RunReading): RunTurn {
  const turn = turns.get(runId);
  if (turn === undefined) throw new NexusError('replay_diverged', `run ${runId} is not in the log`);
  return turn;
}
