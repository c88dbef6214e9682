import { dictionary, type RetentionRow, type TenantId } from '@nexus-agent/protocol';
import { type Cancel, type Timers, toTimestamp } from '#core';
import type { Principal } from '#identity';
import type { Aged, AgingKind, ContentTable, Store } from '#storage';
import { type Cleared, type ClearingDependencies, createClearing, type GoOn } from './clearing.ts';

const dayMs = 86_400_000;

export interface RetentionSettings {
  readonly sessionsDays: number;
  readonly decisionsDays: number;
  readonly idempotencyDays: number;
  readonly reservationsDays: number;
  readonly ledgerDays: number;
  readonly balancesDays: number;
  readonly contentsDays: number;
  readonly workersDays: number;
  readonly intervalMs: number;
  readonly batchRows: number;
  readonly pauseMs: number;
  readonly readersMs: number;
}

export interface RetentionDependencies extends ClearingDependencies {
  readonly store: ClearingDependencies['store'] & Pick<ContentTable, 'countContents'> & Pick<Store, 'now'>;
  readonly timers: Pick<Timers, 'every' | 'sleep'>;
  readonly logger: ClearingDependencies['logger'] & { info(fields: object, message: string): void };
  readonly metrics: { retentionDeleted(kind: string, count: number): void };
  readonly settings: RetentionSettings;
  /** Names this process. */
  readonly owner: string;
}

/** What is kept for how long, and its end. */
export interface Retention {
  /** What would go now, of the principal's tenant. */
  preview(principal: Principal): Promise<readonly RetentionRow[]>;
  /** Deletes it, in steps, until nothing is left or the signal ends it; `more` says where something is left. */
  prune(principal: Principal, signal: AbortSignal): Promise<readonly RetentionRow[]>;
}

export interface RetentionJob extends Retention {
  start(): void;
  /** Looks at once whether something that was deleted is to be cleared away. */
  wake(): void;
  /** Ends between two steps. */
  stop(): Promise<void>;
  /** One look at everything, by the one process that has the job. False: another has it. */
  pass(): Promise<boolean>;
}

const job = 'retention';
/** Somebody else may take the job over so long after its holder was last heard of. */
const jobMs = 60_000;
/** What is found is counted no further. */
const maxCount = 10_000;
/** Sessions are looked at in pages of so many. */
const sessionPage = 100;

/**
 * Deletes what is no longer kept. Each step is a small transaction of its own, with a pause after it, so that work goes on beside it, and
 * leaves everything consistent: whatever ends it in the middle, the next look goes on. One process at a time does it.
 */
export function createRetention(dependencies: RetentionDependencies): RetentionJob {
  const { store, clock, timers, logger, metrics, settings, owner } = dependencies;
  const { batchRows, pauseMs } = settings;
  const stopping = new AbortController();
  let cancel: Cancel | undefined;
  let running: Promise<unknown> | undefined;
  let again = false;
  const clearRemovals = createClearing(dependencies);

  const kinds: readonly (readonly [AgingKind, number])[] = [
    ['decisions', settings.decisionsDays],
    ['idempotencyKeys', settings.idempotencyDays],
    ['reservations', settings.reservationsDays],
    ['ledgerEntries', settings.ledgerDays],
    ['idleBalances', settings.balancesDays],
  ];

  /** Repeats a step until it has no more to do; how much it did. */
  async function inSteps(step: () => Promise<number>, goOn: GoOn): Promise<number> {
    let done = 0;
    for (;;) {
      const now = await step();
      done += now;
      if (now < batchRows || !(await goOn())) return done;
    }
  }

  async function removeIdle(tenantId: TenantId, now: number, goOn: GoOn): Promise<number> {
    if (settings.sessionsDays === 0) return 0;
    const before = now - settings.sessionsDays * dayMs;
    let removed = 0;
    for (let after: string | null = null; ; ) {
      const from: { readonly after?: string } = after === null ? {} : { after };
      const { sessions, next } = await store.listIdleSessions(tenantId, before, { limit: sessionPage, ...from });
      for (const sessionId of sessions) {
        // One that has many runs has been idle as long as the last of them: it is closed, and nothing happens in it any more.
        let outcome = await store.removeSession(tenantId, sessionId, before);
        while (outcome === 'more' && (await goOn())) outcome = await store.removeSession(tenantId, sessionId, before);
        if (outcome === 'removed') removed += 1;
        if (!(await goOn())) return removed;
      }
      after = next;
      if (after === null || !(await goOn())) return removed;
    }
  }

  async function pruneTenant(tenantId: TenantId, goOn: GoOn): Promise<Map<string, number>> {
    // What is deleted is gone: a clock of this machine that was just set must not make it old.
    const now = await store.now();
    const done = new Map<string, number>([['sessions', await removeIdle(tenantId, now, goOn)]]);
    // What an earlier version booked: entries are deleted once they are in the sums of their days.
    const tomorrow = toTimestamp(now + dayMs).slice(0, 10);
    await inSteps(() => store.foldEntries(tenantId, tomorrow, batchRows), goOn);
    for (const [kind, keepDays] of kinds) {
      if (keepDays === 0 || !(await goOn())) continue;
      done.set(kind, await pruneKind(dependencies, tenantId, kind, { before: now - keepDays * dayMs, goOn }));
    }
    for (const [kind, count] of done) if (count > 0) metrics.retentionDeleted(kind, count);
    return done;
  }

  async function clear(goOn: GoOn, signal: AbortSignal): Promise<Cleared> {
    const cleared = await clearRemovals(goOn, signal);
    const count = totalOf(cleared);
    if (count > 0) metrics.retentionDeleted('contents', count);
    return cleared;
  }

  /** Rests; false when it is time to end. */
  async function rest(signal: AbortSignal): Promise<boolean> {
    await timers.sleep(pauseMs, signal).catch(() => undefined); // the signal says it, too
    return !signal.aborted;
  }

  async function pass(): Promise<boolean> {
    if (!(await store.claimJob(job, owner, jobMs))) return false;
    let heldUntil = clock.monotonic() + jobMs / 2;
    let held = true;
    const goOn = async () => {
      if (!(await rest(stopping.signal))) return false;
      if (clock.monotonic() < heldUntil) return held;
      held = await store.claimJob(job, owner, jobMs);
      heldUntil = clock.monotonic() + jobMs / 2;
      return held;
    };
    try {
      const cleared = await clear(goOn, stopping.signal);
      const total: Record<string, number> = dictionary({ contents: totalOf(cleared) });
      for (const tenantId of await store.listTenants()) {
        if (!(await goOn())) return true;
        for (const [kind, count] of await pruneTenant(tenantId, goOn)) total[kind] = (total[kind] ?? 0) + count;
      }
      const before = (await store.now()) - settings.workersDays * dayMs;
      if (settings.workersDays > 0) total.workers = await inSteps(() => store.pruneWorkers(before, batchRows), goOn);
      const gone = Object.fromEntries(Object.entries(total).filter(([, count]) => count > 0));
      if (Object.keys(gone).length > 0) logger.info({ gone }, 'what is no longer kept was deleted');
      return true;
    } finally {
      await store.releaseJob(job, owner).catch(() => undefined); // it ends by itself
    }
  }

  function look(): void {
    if (running !== undefined) {
      again = true;
      return;
    }
    running = pass()
      .catch((error: unknown) => logger.error({ err: error }, 'what is no longer kept could not be deleted; it is tried again'))
      .finally(() => {
        running = undefined;
        if (again && !stopping.signal.aborted) {
          again = false;
          look();
        }
      });
  }

  const preview = (principal: Principal) => previewOf(principal.tenantId, kinds, dependencies);

  return {
    preview,
    async prune(principal, signal) {
      const ended = AbortSignal.any([signal, stopping.signal]);
      const done = await pruneTenant(principal.tenantId, () => rest(ended));
      const cleared = await clear(() => rest(ended), ended);
      done.set('contents', cleared.get(principal.tenantId) ?? 0);
      return (await preview(principal)).map((left) => ({ ...left, count: done.get(left.kind) ?? 0, more: left.count > 0 }));
    },
    pass,
    start() {
      cancel ??= timers.every(settings.intervalMs, look);
    },
    wake: look,
    async stop() {
      cancel?.();
      cancel = undefined;
      stopping.abort();
      await running;
    },
  };
}

/** Looks through what is older, some of which may stay; how much went. */
async function pruneKind(
  { store, settings }: Pick<RetentionDependencies, 'store' | 'settings'>,
  tenantId: TenantId,
  kind: AgingKind,
  { before, goOn }: { readonly before: number; readonly goOn: GoOn },
): Promise<number> {
  let done = 0;
  for (let after: string | undefined; ; ) {
    const { gone, next } = await store.prune(tenantId, kind, { before, limit: settings.batchRows, after });
    done += gone;
    if (next === null || !(await goOn())) return done;
    after = next;
  }
}

function totalOf(cleared: Cleared): number {
  return [...cleared.values()].reduce((sum, each) => sum + each, 0);
}

async function previewOf(
  tenantId: TenantId,
  kinds: readonly (readonly [AgingKind, number])[],
  { store, clock, settings }: Pick<RetentionDependencies, 'store' | 'clock' | 'settings'>,
): Promise<readonly RetentionRow[]> {
  const row = (kind: RetentionRow['kind'], keepDays: number, { count, oldest }: Aged): RetentionRow => ({
    kind,
    keepDays,
    count,
    more: count >= maxCount,
    ...(oldest === null ? {} : { oldest: toTimestamp(oldest) }),
  });
  const before = (days: number) => clock.now() - days * dayMs;
  const older = async (keepDays: number, count: () => Promise<Aged>): Promise<Aged> =>
    keepDays === 0 ? { count: 0, oldest: null } : count();
  const { sessionsDays, contentsDays } = settings;
  const idleBefore = sessionsDays === 0 ? null : before(sessionsDays);
  const idle = await older(sessionsDays, () => store.countIdleSessions(tenantId, before(sessionsDays), maxCount));
  const rows = [row('sessions', sessionsDays, idle)];
  for (const [kind, keepDays] of kinds) {
    const range = { before: before(keepDays), idleBefore };
    rows.push(row(kind, keepDays, await older(keepDays, () => store.countAged(tenantId, kind, range, maxCount))));
  }
  return [...rows, row('contents', contentsDays, await store.countContents(tenantId, maxCount))];
}
