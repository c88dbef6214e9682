/** What nodes do to one database side by side: every kind of change that others can come between. */
import { type SessionId, TenantId } from '@nexus-agent/protocol';
import type { Chance } from '../../../packages/server/src/apps/testing/index.ts';
import { Violation } from '../../../packages/server/src/apps/testing/index.ts';
import { limitOperations } from '../../../packages/server/src/budget/index.ts';
import { NexusError } from '../../../packages/server/src/core/index.ts';
import type { LedgerOperation } from '../../../packages/server/src/ledger/index.ts';
import { type Quotas, unlimited } from '../../../packages/server/src/storage/contract/index.ts';
import type { Commit, CommitResult, RunPatch, RunRow, Store } from '../../../packages/server/src/storage/index.ts';
import { approvalRow } from '../../conformance/storage-run-work.ts';
import { ids, runRow, sessionRow } from '../../support/stores.ts';

const tenantId = TenantId.parse('default');
export const quotas: Quotas = {
  ...unlimited,
  tenant: { ...unlimited.tenant, sessions: 5, agents: 3, agentVersions: 4, approvals: 4, idempotencyKeys: 12, contents: 3, budgets: 12 },
};
const leaseMs = 600_000;
const removingMs = 300_000;

interface Held {
  readonly run: RunRow;
  lastSeq: number;
  readonly reservations: string[];
}

/** What was said to callers, which must stay true. */
export interface Said {
  /** Events that are written, and those that are not, by their step. */
  readonly appended: Map<number, { readonly runId: string; readonly seq: number; readonly epoch: number }>;
  readonly refused: Set<number>;
  readonly claims: Map<string, { readonly runId: string; readonly epoch: number; readonly by: string; readonly lastSeq: number }>;
  /** Who drives a run, as far as that is known: its lease stands, and it has not begun to lay it down. */
  readonly holders: Map<string, string>;
  readonly keys: Map<string, string>;
  /** Runs that were asked to cancel. */
  readonly cancelled: Set<string>;
  readonly removing: Map<string, number>;
  readonly jobs: Map<string, string>;
  readonly answered: Map<string, string>;
  /** Calls that were told that the store is away: what they asked for may have happened. */
  unheard: number;
  did: number;
}

function createSaid(): Said {
  return {
    ...{ appended: new Map(), refused: new Set(), claims: new Map(), holders: new Map(), keys: new Map(), cancelled: new Set() },
    ...{ removing: new Map(), jobs: new Map(), answered: new Map(), unheard: 0, did: 0 },
  };
}

/** A process as far as the database can tell. */
export interface Worker {
  readonly store: Store;
  readonly name: string;
  readonly held: Map<string, Held>;
  /** Its lease was ended: others take over what it takes from now on. */
  isLost: boolean;
}

export interface World {
  readonly said: Said;
  readonly workers: readonly Worker[];
  readonly sessions: SessionId[];
  readonly runs: RunRow[];
  readonly approvals: string[];
  /** The session in which most works of a round meet, if they are to meet in one. */
  focus: SessionId | null;
  /** Limits are given to what has none. */
  limitsAreNew: boolean;
  steps: number;
}

/** A tenant with limits, two sessions and some runs. */
export async function createWorld(stores: readonly Store[]): Promise<World> {
  const [store] = stores;
  if (store === undefined) throw new Error('a world needs a node');
  const workers = stores.map((each, index) => ({ store: each, name: `worker_${index}`, held: new Map<string, Held>(), isLost: false }));
  const world: World = { said: createSaid(), workers, sessions: [], runs: [], approvals: [], focus: null, limitsAreNew: false, steps: 0 };
  await store.commit({ tenantId, ledger: limitOperations({ kind: 'tenant', id: tenantId }, { tokens: 160 }, { unlimited: 'ignore' }) });
  await store.commit({ tenantId, ledger: limitOperations({ kind: 'user', id: '*' }, { tokens: 90 }, { unlimited: 'ignore' }) });
  for (const worker of workers) await worker.store.heartbeat(worker.name, leaseMs);
  for (let session = 0; session < 2; session++) {
    await openSession(world, store, `u${session}`);
    for (let run = 0; run < 2; run++) await place(world, store, world.sessions[session] as SessionId, 'begin'); // it was just opened
  }
  return world;
}

async function openSession({ sessions }: World, store: Store, user: string): Promise<void> {
  const row = sessionRow(tenantId, { user, project: 'p' });
  const result = await store.commit({ tenantId, sessions: [row] });
  if (result.type === 'committed') sessions.push(row.sessionId);
}

async function place(world: World, store: Store, sessionId: SessionId, how: 'begin' | 'wait' | 'refuse' | 'interrupt', key?: string) {
  const run = runRow(tenantId, { sessionId, status: 'queued', dueAt: 1 });
  const commit: Commit = {
    ...{ tenantId, createRun: run, openSession: sessionId, events: [{ type: 'step.started', data: { step: nextStep(world) } }] },
    place: { whileBusy: how === 'interrupt' ? { interrupt: 'another came' } : how },
    ...(key === undefined ? {} : { idempotency: { key, requestHash: 'h', resourceId: run.runId } }),
  };
  // Unless it is heard of, nobody knows whether it is there.
  world.runs.push(run);
  const result = await store.commit(commit);
  if (result.type !== 'committed') world.runs.splice(world.runs.indexOf(run), 1);
  else {
    for (const runId of result.placed?.interrupted ?? []) world.said.cancelled.add(runId);
    if (key !== undefined && world.said.keys.has(key)) throw new Violation(`idempotency: ${key} made two runs`);
    if (key !== undefined) world.said.keys.set(key, run.runId);
  }
}

/** Of an event that nobody else writes. */
function nextStep(world: World): number {
  world.steps += 1;
  return world.steps;
}

type Work = (world: World, worker: Worker, chance: Chance) => Promise<void>;

function inAnyOrder<T>(chance: Chance, items: readonly T[]): T[] {
  const at = chance.int(0, items.length - 1);
  const turned = [...items.slice(at), ...items.slice(0, at)];
  return chance.hits(0.5) ? turned : turned.reverse();
}

/** Mostly the newest one: what happens to one session comes between more often than what happens to many. */
function someSession({ sessions, focus }: World, chance: Chance): SessionId {
  if (focus !== null && chance.hits(0.9)) return focus;
  return chance.hits(0.6) ? (sessions.at(-1) ?? chance.pick(sessions)) : chance.pick(sessions);
}

/** Those of the session in which works meet, where there are any. */
function someRun({ focus }: World, of: readonly RunRow[], chance: Chance): RunRow {
  const there = of.filter(({ sessionId }) => sessionId === focus);
  return chance.pick(there.length > 0 && chance.hits(0.9) ? there : of);
}

const amounts = (chance: Chance) => ({ tokens: chance.int(1, 30) });

function reserve(run: RunRow, chance: Chance): LedgerOperation & { readonly type: 'reserve' } {
  const user = run.user ?? `u${chance.int(0, 2)}`;
  return {
    ...{ type: 'reserve', reservationId: ids.next<string>('reservation'), runId: run.runId, fixed: amounts(chance) },
    // Whoever asks names them in whatever order; they are locked in one.
    scopes: inAnyOrder(chance, [
      { kind: 'run', id: run.runId },
      { kind: 'session', id: run.sessionId },
      { kind: 'user', id: user },
      { kind: 'project', id: 'p' },
      { kind: 'tenant', id: tenantId },
    ]),
    expiresAt: chance.hits(0.3) ? 1 : Date.now() + leaseMs,
  };
}

/** A commit under the fence of a run that this worker took, with an event that nobody else writes. */
async function under(world: World, worker: Worker, { run, lastSeq }: Held, patch: RunPatch, more: Partial<Commit>): Promise<CommitResult> {
  const step = nextStep(world);
  const { said } = world;
  const commit: Commit = {
    tenantId,
    run: { runId: run.runId, epoch: run.epoch, owner: worker.name, lastSeq, patch },
    events: [{ type: 'step.started', data: { step } }],
    ...more,
  };
  const result = await worker.store.commit(commit);
  if (result.type === 'committed') said.appended.set(step, { runId: run.runId, seq: lastSeq + 1, epoch: run.epoch });
  else said.refused.add(step);
  return result;
}

const closings = (held: Held, chance: Chance): LedgerOperation[] =>
  held.reservations.map((reservationId) =>
    chance.hits(0.7) ? { type: 'settle', reservationId, actual: amounts(chance) } : { type: 'charge', reservationId },
  );

function someHeld({ focus }: World, { held }: Worker, chance: Chance): Held | null {
  const all = [...held.values()];
  const there = all.filter(({ run }) => run.sessionId === focus);
  return all.length === 0 ? null : chance.pick(there.length > 0 ? there : all);
}

async function claim({ said, runs }: World, worker: Worker, most: number): Promise<void> {
  for (const run of await worker.store.claimRuns(worker.name, most)) {
    const fence = `${run.runId} ${run.epoch}`;
    if (said.claims.has(fence)) throw new Violation(`fence: ${fence} was given to ${said.claims.get(fence)?.by} and to ${worker.name}`);
    said.claims.set(fence, { runId: run.runId, epoch: run.epoch, by: worker.name, lastSeq: run.lastSeq });
    const holder = said.holders.get(run.runId);
    if (holder !== undefined) throw new Violation(`queue: ${run.runId} was given to ${worker.name} while ${holder} drove it`);
    if (!worker.isLost) said.holders.set(run.runId, worker.name);
    worker.held.set(run.runId, { run, lastSeq: run.lastSeq, reservations: [] });
    if (!runs.some(({ runId }) => runId === run.runId)) throw new Violation(`queue: ${run.runId} was claimed, and nobody made it`);
  }
}

const works = {
  claim: (world, worker, chance) => claim(world, worker, chance.int(1, 3)),

  async append(world, worker, chance) {
    const held = someHeld(world, worker, chance);
    if (held === null) return claim(world, worker, chance.int(1, 3));
    const [closing] = chance.hits(0.6) ? closings(held, chance) : [];
    const opening = chance.hits(0.7) ? reserve(held.run, chance) : undefined;
    const ledger = [...(closing === undefined ? [] : [closing]), ...(opening === undefined ? [] : [opening])];
    const result = await under(world, worker, held, {}, { ledger });
    if (result.type === 'fenced') worker.held.delete(held.run.runId);
    if (result.type !== 'committed') return;
    held.lastSeq += 1;
    if (closing !== undefined) held.reservations.shift();
    if (opening !== undefined) held.reservations.push(opening.reservationId);
  },

  async rest(world, worker, chance) {
    const held = someHeld(world, worker, chance);
    if (held === null) return claim(world, worker, chance.int(1, 3));
    worker.held.delete(held.run.runId);
    world.said.holders.delete(held.run.runId);
    const { sessionId } = held.run;
    const end = chance.weighted({ completed: 3, failed: 1, waiting: 2 });
    const approval = end === 'waiting' ? { ...approvalRow(held.run), deadlineAt: Date.now() + leaseMs } : null;
    const patch: RunPatch = {
      ...{ status: end, leaseOwner: null },
      ...(approval === null ? {} : { waiting: { reason: 'approval', approvals: [approval.approvalId] } }),
      ...(end === 'failed' ? { resumable: true } : {}),
    };
    const ledger = closings(held, chance);
    const more = { ledger, leaves: sessionId, ...(approval === null ? {} : { approvals: [approval] }) };
    const result = await under(world, worker, held, patch, more);
    if (result.type === 'committed' && approval !== null) world.approvals.push(approval.approvalId);
  },

  async answer({ approvals, said }, { store, name }, chance) {
    if (approvals.length === 0) return;
    const id = chance.pick(approvals);
    const answer = { decision: 'approve', answer: null, decidedBy: name, at: Date.now() } as const;
    const result = await store.answerApproval(tenantId, id, answer);
    if (result.type !== 'decided') return;
    if (said.answered.has(id)) throw new Violation(`approval: ${id} was answered by ${said.answered.get(id)} and by ${name}`);
    said.answered.set(id, name);
  },

  async place(world, { store }, chance) {
    const how = chance.weighted({ wait: 4, refuse: 1, interrupt: 2 });
    const key = chance.hits(0.6) ? `key-${chance.int(0, 3)}-${Math.floor(world.said.did / 12)}` : undefined;
    await place(world, store, someSession(world, chance), how, key);
  },

  async cancel(world, { store }, chance) {
    const { runId } = someRun(world, world.runs.slice(-6), chance);
    if (await store.requestCancel(tenantId, runId, 'enough')) world.said.cancelled.add(runId);
  },

  /** Others take its runs over, while it believes that it holds them. */
  async loseLease({ said }, worker) {
    for (const [runId, holder] of said.holders) if (holder === worker.name) said.holders.delete(runId);
    worker.isLost = true;
    await worker.store.retireWorker(worker.name);
  },

  async beat(_world, worker) {
    await worker.store.heartbeat(worker.name, leaseMs, worker.held.size);
    worker.isLost = false;
  },

  async sweep(_world, { store }) {
    const expired = await store.listExpiredReservations(Date.now(), 10);
    if (expired.length > 0)
      await store.commit({ tenantId, ledger: expired.map(({ reservation: { reservationId } }) => ({ type: 'charge', reservationId })) });
  },

  async limit({ sessions, limitsAreNew }, { store }, chance) {
    const kind = limitsAreNew ? 'project' : chance.weighted({ user: 3, project: 2, tenant: 1, session: 2 });
    const id = { user: `u${chance.int(0, 2)}`, project: 'p', tenant: tenantId, session: chance.pick(sessions) }[kind];
    const scope = { kind, id } as const;
    const operations = limitOperations(scope, { tokens: chance.int(20, 120) }, { unlimited: 'ignore' });
    const taken: LedgerOperation = { type: 'unlimit', scope, unit: 'tokens', window: 'total' };
    await store.commit({ tenantId, ledger: limitsAreNew || chance.hits(0.7) ? operations : [taken] });
  },

  async reserveAlone({ runs }, { store }, chance) {
    await store.commit({ tenantId, ledger: [{ ...reserve(chance.pick(runs), chance), expiresAt: 1 }] });
  },

  async close(world, { store }, chance) {
    await store.closeSession(tenantId, someSession(world, chance));
  },

  async remove(_world, { store }, chance) {
    const { items } = await store.listSessions(tenantId, { limit: 20 });
    for (const { sessionId } of items) if (chance.hits(0.5)) await store.removeSession(tenantId, sessionId);
    for (const removal of await store.listRemovals(Date.now(), 10)) {
      if (removal.kind !== 'run' && removal.kind !== 'session') continue;
      if (!(await store.removeSome(removal, 10, 1_000))) await store.endRemoval(removal);
    }
  },

  async openSession(world, { store }, chance) {
    await openSession(world, store, `u${chance.int(0, 2)}`);
  },

  async resume(world, { store }, chance) {
    const { said } = world;
    const { runId } = someRun(world, world.runs, chance);
    said.cancelled.delete(runId);
    await store.requeueRun(tenantId, runId);
    said.cancelled.delete(runId);
  },

  async agent(_world, { store }, chance) {
    const name = `agent-${chance.int(0, 4)}`;
    if (chance.hits(0.25)) return void (await store.deleteAgent(tenantId, name));
    const version = `agv_${chance.int(0, 5)}`;
    await store.putAgent({ tenantId, name, version, source: 'api', definition: {} as never, createdAt: 1 }); // nobody reads it here
  },

  async content({ said }, { store }, chance) {
    const sha256 = `content-${chance.int(0, 3)}`;
    const remover = said.removing.get(sha256);
    const kept = await store.touchContent({ tenantId, sha256, bytes: 10 }, chance.hits(0.5) ? 0 : 60_000, removingMs);
    if (kept !== null && remover !== undefined && said.removing.get(sha256) === remover)
      throw new Violation(`content: ${sha256} was kept while somebody removed it`);
  },

  async removeContent({ said }, { store }, chance) {
    const removal = { tenantId, kind: 'content', id: `content-${chance.int(0, 3)}` } as const;
    if ((await store.takeContent(removal, removingMs)) !== 'taken') return;
    if (said.removing.has(removal.id)) throw new Violation(`content: two remove ${removal.id}`);
    said.removing.set(removal.id, said.did);
    if (chance.hits(0.3)) return; // and is lost
    said.removing.delete(removal.id);
    await store.endRemoval({ ...removal, kind: 'leaving' });
  },

  async definitions(_world, { store, name }, chance) {
    const request = { kind: 'policies', fingerprint: `f${chance.int(0, 4)}`, origin: name, importedAt: 1, files: [] } as const;
    await store.importDefinitions({ ...request, again: chance.hits(0.5) ? 'always' : null });
  },

  async job({ said }, { store, name }, chance) {
    if (chance.hits(0.4)) {
      if (said.jobs.get('sweeping') === name) said.jobs.delete('sweeping');
      return store.releaseJob('sweeping', name);
    }
    if (!(await store.claimJob('sweeping', name, leaseMs))) return;
    const other = said.jobs.get('sweeping') ?? name;
    if (other !== name) throw new Violation(`job: it was given to ${name} while ${other} had it`);
    said.jobs.set('sweeping', name);
  },

  async prune({ said }, { store }) {
    // A key that is forgotten may be used once more, and which are is not told.
    said.keys.clear();
    try {
      await store.prune(tenantId, 'idempotencyKeys', { before: Date.now() + 1, limit: 3 });
    } finally {
      said.keys.clear();
    }
  },
} satisfies Record<string, Work>;

type WorkName = keyof typeof works;

const weights: Readonly<Record<WorkName, number>> = {
  ...{ claim: 5, append: 8, rest: 5, answer: 3, place: 6, cancel: 3, loseLease: 2, beat: 2, sweep: 2, limit: 4, reserveAlone: 4 },
  ...{ close: 1, remove: 1, openSession: 2, resume: 1, agent: 2, content: 2, removeContent: 2, definitions: 2, job: 1, prune: 1 },
};

/** Things that come between each other. */
const themes: Readonly<Record<string, readonly WorkName[]>> = {
  takeOver: ['append', 'append', 'claim', 'claim', 'rest', 'cancel'],
  money: ['reserveAlone', 'append', 'limit', 'sweep', 'rest'],
  newLimit: ['limit', 'reserveAlone', 'append', 'reserveAlone', 'rest'],
  sessions: ['place', 'place', 'rest', 'close', 'remove', 'resume', 'openSession'],
  questions: ['answer', 'answer', 'rest', 'close', 'cancel', 'claim'],
  counts: ['agent', 'agent', 'openSession', 'place', 'prune', 'rest'],
  oneSession: ['place', 'place', 'rest', 'rest', 'resume', 'close', 'remove', 'cancel'],
  shared: ['content', 'content', 'removeContent', 'definitions', 'job', 'job'],
};

/** What nodes do next, beside each other: mostly of one theme, and sometimes all the same. */
export function drawWorks(chance: Chance, nodes: number): { readonly theme: string; readonly works: readonly WorkName[] } {
  const theme = chance.hits(0.75) ? chance.pick(Object.keys(themes)) : 'all';
  const first = chance.weighted(weights);
  if (theme === 'all' && chance.hits(0.5)) return { theme, works: Array.from({ length: nodes }, () => first) };
  const of = themes[theme];
  return { theme, works: Array.from({ length: nodes }, () => (of === undefined ? chance.weighted(weights) : chance.pick(of))) };
}

/**
 * Before a round in which runs are taken over, who has any loses its lease, and does not know. Before one about sessions, and whenever the
 * newest may be closed, there is a new one, if the quota lets it; where all is to meet in it, it has a run that failed, and one with which
 * a node works that is to lay it down, if one is. Before one about new limits there is none on what all spend from.
 */
export async function prepare(theme: string, names: readonly WorkName[], world: World, chance: Chance): Promise<void> {
  const [first] = world.workers;
  world.focus = null;
  world.limitsAreNew = theme === 'newLimit';
  if (world.limitsAreNew && first !== undefined) {
    const ledger: LedgerOperation[] = [{ type: 'unlimit', scope: { kind: 'project', id: 'p' }, unit: 'tokens', window: 'total' }];
    await first.store.commit({ tenantId, ledger });
  }
  if ((theme === 'sessions' || theme === 'oneSession') && first !== undefined) {
    await doWork('remove', world, first, chance);
    const before = world.sessions.length;
    await doWork('openSession', world, first, chance);
    if (theme === 'oneSession' && world.sessions.length > before) await fill(world, first, world.workers[names.indexOf('rest')] ?? first);
  }
  if (theme !== 'takeOver') return;
  const driving = world.workers.filter(({ held }) => held.size > 0);
  if (driving.length > 0) await works.loseLease(world, chance.pick(driving));
  for (const each of world.workers) if (!driving.includes(each) && each.isLost) await works.beat(world, each);
}

/** Makes the newest session the one in which works meet. */
async function fill(world: World, first: Worker, driver: Worker): Promise<void> {
  const focus = world.sessions.at(-1);
  if (focus === undefined || driver.isLost) return;
  world.focus = focus;
  for (let run = 0; run < 2; run++) await place(world, first.store, focus, 'wait');
  for (const isToFail of [true, false]) {
    const held = await take(world, driver, focus);
    if (held === null || !isToFail) continue;
    driver.held.delete(held.run.runId);
    world.said.holders.delete(held.run.runId);
    await under(world, driver, held, { status: 'failed', leaseOwner: null, resumable: true }, { leaves: focus });
  }
}

/** Claims until a run of the session is among what the worker drives. */
async function take(world: World, driver: Worker, sessionId: SessionId): Promise<Held | null> {
  for (let tries = 0; tries < 3; tries++) {
    const held = [...driver.held.values()].find(({ run }) => run.sessionId === sessionId);
    if (held !== undefined) return held;
    await claim(world, driver, 3);
  }
  return null;
}

/** Carries one out. What a caller may be told (a quota, a conflict, a store that is away) is no fault. */
export async function doWork(name: WorkName, world: World, worker: Worker, chance: Chance): Promise<void> {
  try {
    await works[name](world, worker, chance);
  } catch (error) {
    if (!(error instanceof NexusError)) throw error;
    if (error.code === 'internal') throw error;
    if (error.code === 'storage_unavailable') forget(world, worker);
  }
  world.said.did += 1;
}

/** What was not heard of may have happened: nothing is held on to that could be either way. */
function forget({ said }: World, { held }: Worker): void {
  said.unheard += 1;
  said.holders.clear();
  held.clear();
  said.removing.clear();
  said.jobs.clear();
}
