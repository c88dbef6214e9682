import type { SessionId, SessionReading, TenantId } from '@nexus-agent/protocol';
import { createTranscripts } from '../../packages/server/src/runs/journal/index.ts';
import type { Commit, CommitResult, RunRow, Store } from '../../packages/server/src/storage/index.ts';
import { runRow } from '../support/stores.ts';
import { ClaimJudge } from './claims.ts';
import { commitsOf, workers } from './commits.ts';
import { differencesBetween } from './compare.ts';
import { type Shown, turnOf } from './log-model.ts';
import { StoreModel } from './run-model.ts';
import { shortly } from './shortly.ts';
import type { Step } from './steps.ts';
import type { ModelSubject } from './subjects.ts';
import { text } from './tables.ts';

const slowByMs = 5 * 3_600_000;
const startMs = Date.UTC(2026, 0, 31, 23, 30);
const [tenantId, elsewhere] = ['ta', 'tb'] as [TenantId, TenantId];
const setAside = 6;

/** The clock of everything here. Time passes: nobody sets it, and a machine that stands still is not taken for a step of it. */
let nowMs = startMs;
export const modelClock = { now: () => nowMs, monotonic: () => nowMs };
/** The clock of a process that lags behind. */
const slowClock = { ...modelClock, now: () => modelClock.now() - slowByMs };

/** A store and its model, to which the same happens. Whatever they say or keep differently is thrown, with all that came before it. */
export class World {
  readonly model = new StoreModel();
  readonly #claims = new ClaimJudge(this.model);
  readonly told: string[] = [];
  readonly #subject: ModelSubject;
  readonly #store: Store;
  readonly #slow: Store;
  readonly #transcripts: ReturnType<typeof createTranscripts>;
  /** What each run was shown of its session as it began. */
  readonly #shown = new Map<string, { readonly reading: SessionReading; readonly runs: readonly Shown[] }>();
  #last: { readonly commit: Commit; readonly slow: boolean } | undefined;
  #ids = 0;
  #removed = 0;

  static async open(subject: ModelSubject): Promise<World> {
    nowMs = startMs;
    const [store, slow] = [await subject.open(modelClock), await subject.open(slowClock)];
    await subject.clear();
    await subject.clockMoved();
    return new World(subject, store, slow);
  }

  constructor(subject: ModelSubject, store: Store, slow: Store) {
    this.#subject = subject;
    this.#store = store;
    this.#slow = slow;
    this.#transcripts = createTranscripts(store, 2_000);
  }

  async take(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      await this.#step(step);
      await this.#compare();
    }
    await this.#compareLogs();
  }

  get #times() {
    return { app: modelClock.now(), db: modelClock.now() };
  }

  async #step(step: Step): Promise<void> {
    const now = modelClock.now();
    switch (step.do) {
      case 'clock':
        nowMs += step.ms;
        await this.#subject.clockMoved();
        this.told.push(`clock: ${new Date(modelClock.now()).toISOString()}`);
        return;
      case 'claim': {
        const worker = workers[step.worker] ?? 'w0';
        const taken = await this.#store.claimRuns(worker, step.limit);
        this.told.push(`claim by ${worker} of up to ${step.limit}: ${taken.map(({ runId }) => runId).join(' ') || 'nothing'}`);
        this.#fail(this.#claims.runs(worker, step.limit, taken, this.#times));
        return;
      }
      case 'suspect': {
        const worker = workers[step.worker] ?? 'w0';
        const taken = await this.#store.claimSuspect(worker, step.isAlone, setAside);
        this.told.push(`claim of a suspect by ${worker}${step.isAlone ? ' alone' : ''}: ${taken?.runId ?? 'none'}`);
        this.#fail(this.#claims.suspect(worker, step.isAlone, setAside, taken, this.#times));
        return;
      }
      case 'heartbeat': {
        const worker = workers[step.worker] ?? 'w0';
        const { cancelRequested } = await this.#store.heartbeat(worker, step.ms);
        const heard = cancelRequested.map(({ runId }) => runId).sort();
        this.#same(`heartbeat of ${worker}, ${step.ms} ms`, [...this.model.heartbeat(worker, step.ms, this.#times)].sort(), heard);
        return;
      }
      case 'retire':
        await this.#store.retireWorker(workers[step.worker] ?? 'w0');
        this.model.retireWorker(workers[step.worker] ?? 'w0');
        this.told.push(`${workers[step.worker]} retires`);
        return;
      case 'enqueue elsewhere': {
        const fields = {
          runId: this.#next('q') as RunRow['runId'],
          sessionId: 's9' as SessionId,
          dueAt: now,
          createdAt: now,
          updatedAt: now,
        };
        await this.#commit({ tenantId: elsewhere, createRun: runRow(elsewhere, fields) }, false);
        return;
      }
      case 'fold':
        this.told.push(
          `${await this.#store.foldEntries(tenantId, new Date(now - slowByMs).toISOString().slice(0, 10), 1_000)} entries folded`,
        );
        return;
      case 'repeat':
        if (this.#last === undefined) return;
        this.told.push('its answer is lost, and it is sent again:');
        return this.#commit(this.#last.commit, this.#last.slow);
      case 'together':
        return this.#together(step.steps);
      case 'start':
      case 'drive':
      case 'limit':
      case 'unlimit':
      case 'reserve':
      case 'settle':
      case 'release':
      case 'charge':
      case 'bound': {
        const slow = 'slow' in step && step.slow;
        for (const commit of await commitsOf(this.#scene, step)) await this.#commit(commit, slow);
        return;
      }
      default:
        return this.#person(step);
    }
  }

  /** What people ask for, beside the commits of runs. */
  async #person(step: Extract<Step, { do: 'answer' | 'cancel' | 'resume' | 'wake' | 'close' | 'remove' }>): Promise<void> {
    const { model } = this;
    const pick = (ids: Iterable<string>) => [...ids][step.at % Math.max(1, [...ids].length)] ?? 'none';
    const runs = [...model.runs.values()].filter(({ row }) => row.tenantId === tenantId);
    const run = pick(
      runs.filter(({ row }) => step.do !== 'resume' || row.status === 'failed').map(({ row }) => row.runId),
    ) as RunRow['runId'];
    const session = this.#sessionOf(step.at);
    switch (step.do) {
      case 'answer': {
        const pending = [...model.approvals].filter(([, { status }]) => status === 'pending' || step.at === 0).map(([id]) => id);
        const answer = { decision: 'approve', answer: null, decidedBy: 'ada', at: modelClock.now() } as const;
        const id = pick(pending);
        const { type } = await this.#store.answerApproval(tenantId, id, answer);
        return this.#same(`answer ${id}`, model.answerApproval(id, this.#times), type);
      }
      case 'cancel':
        return this.#same(
          `cancel ${run}`,
          model.requestCancel(run, 'no', this.#times),
          await this.#store.requestCancel(tenantId, run, 'no'),
        );
      case 'resume':
        return this.#same(`resume ${run}`, model.requeueRun(run, this.#times), await this.#store.requeueRun(tenantId, run));
      case 'wake':
        return this.#commit({ tenantId, wake: [run] }, false);
      case 'close': {
        const closed = await this.#store.closeSession(tenantId, session, 'over');
        return this.#same(`close ${session}`, model.closeSession(session, 'over', this.#times), closed);
      }
      case 'remove': {
        const removed = await this.#store.removeSession(tenantId, session);
        this.#same(`remove ${session}`, model.removeSession(session), removed);
        if (removed === 'removed') this.#removed += 1;
      }
    }
  }

  /** Commits of one process that meet in one transaction, each made from how things were before all of them. */
  async #together(steps: Extract<Step, { do: 'together' }>['steps']): Promise<void> {
    const commits: Commit[] = [];
    const begun = new Set<string>();
    for (const step of steps) {
      // Nobody knows of a session before it is there.
      const session = step.do === 'start' ? this.#sessionOf(step.at) : '';
      if (step.do === 'start' && !this.model.sessions.has(session) && begun.has(session)) continue;
      begun.add(session);
      commits.push(...(await commitsOf(this.#scene, step)));
    }
    const results = await Promise.all(commits.map((commit) => this.#store.commit(commit)));
    this.told.push('at the same time:');
    for (const [index, commit] of commits.entries()) this.#check(commit, false, results[index]);
  }

  async #commit(commit: Commit, slow: boolean): Promise<void> {
    this.#check(commit, slow, await (slow ? this.#slow : this.#store).commit(commit));
  }

  #check(commit: Commit, slow: boolean, result: CommitResult | undefined): void {
    this.#last = { commit, slow };
    const db = modelClock.now();
    const expected = this.model.commit(commit, { app: slow ? slowClock.now() : db, db });
    this.#same(`${slow ? 'slow ' : ''}${describe(commit)}`, answerOf(expected), result === undefined ? 'nothing' : answerOf(result));
    const run = commit.createRun ?? (commit.run && this.model.runs.get(commit.run.runId)?.row);
    for (const event of typeof commit.events === 'object' && expected.type === 'committed' ? commit.events : []) {
      const reading = event.type === 'run.created' || event.type === 'run.started' ? event.data.reading : undefined;
      if (run === undefined || reading === undefined || run.parentRunId !== null) continue;
      const own = this.model.run(run.runId);
      // As it stood when it was read, which for a commit among others is before all of them.
      this.#shown.set(run.runId, { reading, runs: this.#read.get(run.runId) ?? this.#before(own.row.sessionId, own.row.runId) });
    }
  }

  readonly #read = new Map<string, readonly Shown[]>();

  #before(sessionId: string, runId: string): readonly Shown[] {
    const log = this.model.log(sessionId).filter(({ row }) => row.parentRunId === null);
    const at = log.findIndex(({ row }) => row.runId === runId);
    return log.slice(0, at < 0 ? log.length : at).map(({ row }) => ({ runId: row.runId, seq: row.lastSeq }));
  }

  get #scene() {
    return {
      ...{ tenantId, model: this.model, now: () => modelClock.now(), next: (kind: string) => this.#next(kind) },
      sessionOf: (at: number) => this.#sessionOf(at),
      read: async (place: { readonly sessionId: SessionId; readonly runId: RunRow['runId'] }, createdAt: number | null) => {
        this.#read.set(place.runId, this.#before(place.sessionId, place.runId));
        return (await this.#transcripts.read({ tenantId, ...place }, createdAt)).reading;
      },
    };
  }

  /** Two at a time; another id where one was removed. */
  #sessionOf(at: number): SessionId {
    return `s${at % 2}${'b'.repeat(this.#removed)}` as SessionId;
  }

  #next(kind: string): string {
    this.#ids += 1;
    return `${kind}${this.#ids}`;
  }

  /** Whatever a run was shown is what its session's log said then, told again by whoever never read it before. */
  async #compareLogs(): Promise<void> {
    const anew = createTranscripts(this.#store, 1);
    for (const [runId, { reading, runs }] of this.#shown) {
      const run = this.model.runs.get(runId);
      if (run === undefined) continue;
      const place = { tenantId, sessionId: run.row.sessionId, runId: run.row.runId };
      const expected = runs.flatMap((shown) => turnOf(this.model.run(shown.runId).events.slice(0, shown.seq)));
      for (const by of [this.#transcripts, anew]) {
        const { messages } = await by.before(place, reading);
        this.#same(`what ${runId} is shown of ${place.sessionId}`, expected, shortly(messages));
      }
    }
  }

  async #compare(): Promise<void> {
    this.#fail(await differencesBetween(this.model, this.#store, [tenantId, elsewhere], modelClock.now()));
  }

  #same(what: string, expected: unknown, actual: unknown): void {
    this.told.push(`${what}: ${text(expected)}`);
    if (text(expected) !== text(actual)) this.#fail([`model: ${text(expected)}`, `store: ${text(actual)}`]);
  }

  #fail(differences: readonly string[]): void {
    if (differences.length === 0) return;
    const story = this.told.map((line, index) => `  ${index + 1}. ${line}`).join('\n');
    throw new Error(`the store (${this.#subject.name}) and the model differ:\n  ${differences.join('\n  ')}\nafter:\n${story}`);
  }
}

/** An answer, with the numbers and types of its events. */
function answerOf(result: CommitResult): unknown {
  if (result.type !== 'committed') return result;
  return { ...result, events: result.events.map(({ seq, type }) => `${seq} ${type}`) };
}

function describe({ createRun, run, ledger = [], place, wake, openSession }: Commit): string {
  const parts = [
    ...(createRun ? [`${createRun.runId} starts in ${createRun.sessionId}${openSession ? ` (${text(place?.whileBusy)})` : ''}`] : []),
    ...(run ? [`${run.runId} at ${run.epoch}/${run.owner}/${run.lastSeq} is ${run.patch.status ?? 'driven'}`] : []),
    ...ledger.map(({ type, ...operation }) => `${type} ${text(operation)}`),
    ...(wake ? [`wake ${wake.join(' ')}`] : []),
  ];
  return parts.join(', ');
}
