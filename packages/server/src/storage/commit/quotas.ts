import { dictionary } from '@nexus-agent/protocol';
import { type Commit, type QuotaKind, requireQuota } from '#storage/contract';
import { type Program, together } from '#storage/program';
import {
  type CountedKind,
  countUpTo,
  existingSessions,
  limitedScopes,
  lockCounts,
  lockKnownCounts,
  scopeText,
  writeCounts,
} from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

/** Counts that are kept as a number; the others are counted anew, under the lock of theirs. */
const kept: ReadonlySet<QuotaKind> = new Set<QuotaKind>(['sessions', 'idempotencyKeys']);

/**
 * How much a tenant has of what a commit adds to. Its locks are held from before it is counted until what was added is written: of two
 * processes that add at once, the second counts what the first has added.
 */
export function quotaHandler({ tenantId, quotas, books }: Batch): Handler {
  const wanted = new Set<QuotaKind>();
  const sessionIds: string[] = [];
  const scopes = new Set<string>();
  const working: Working = { counts: new Map(), changed: new Set(), known: new Set() };
  return {
    want(commit) {
      for (const { sessionId } of commit.sessions ?? none) sessionIds.push(sessionId);
      for (const scope of limitedBy(commit)) scopes.add(scope);
      for (const kind of kindsOf(commit)) wanted.add(kind);
    },
    load: () => (wanted.size > 0 ? load({ tenantId, quotas, books }, wanted, { sessionIds, scopes }, working) : undefined),
    decide(commit) {
      const kinds = kindsOf(commit);
      if (kinds.length === 0) return undefined;
      const { counts, known, changed } = working;
      const newSessions = (commit.sessions ?? none).filter(({ sessionId }) => !known.has(sessionId)).map(({ sessionId }) => sessionId);
      const newScopes = [...new Set(limitedBy(commit))].filter((scope) => !known.has(scope));
      const adds: Partial<Record<QuotaKind, number>> = dictionary({
        sessions: newSessions.length,
        idempotencyKeys: commit.idempotency ? 1 : 0,
        queuedRuns: isQueued(commit) ? 1 : 0,
        approvals: questionsOf(commit),
        budgets: newScopes.length,
      });
      for (const kind of kinds) requireQuota(quotas.tenant, kind, counts.get(kind) ?? 0, adds[kind] ?? 0);
      return () => {
        for (const each of [...newSessions, ...newScopes]) known.add(each);
        for (const kind of kinds) {
          counts.set(kind, (counts.get(kind) ?? 0) + (adds[kind] ?? 0));
          if (kept.has(kind)) changed.add(kind);
        }
      };
    },
    write(writes) {
      const { counts, changed } = working;
      if (changed.size === 0) return;
      writes.push(writeCounts([...changed].sort().map((kind) => ({ tenant_id: tenantId, kind, amount: counts.get(kind) ?? 0 }))));
    },
  };
}

interface Working {
  readonly counts: Map<QuotaKind, number>;
  readonly changed: Set<QuotaKind>;
  /** Sessions and scopes that are counted already. */
  readonly known: Set<string>;
}

const none: readonly never[] = [];

function isQueued({ createRun }: Commit): boolean {
  return createRun?.status === 'queued' && createRun.parentRunId === null;
}

/** What people are asked. What a client is to give is bounded by its run. */
function questionsOf({ approvals = none }: Commit): number {
  return approvals.filter(({ kind }) => kind !== 'client_result').length;
}

function kindsOf(commit: Commit): readonly QuotaKind[] {
  const kinds: QuotaKind[] = [];
  if (commit.sessions?.length) kinds.push('sessions');
  if (commit.idempotency) kinds.push('idempotencyKeys');
  if (isQueued(commit)) kinds.push('queuedRuns');
  if (questionsOf(commit) > 0) kinds.push('approvals');
  if (commit.ledger?.length && limitedBy(commit).length > 0) kinds.push('budgets');
  return kinds;
}

/** Scopes that get a limit, other than sessions and runs, of which there are as many as those. */
function limitedBy({ ledger = none }: Commit): string[] {
  const scopes: string[] = [];
  for (const operation of ledger) {
    if (operation.type !== 'limit' || operation.limit === null) continue;
    if (operation.scope.kind === 'run' || operation.scope.kind === 'session') continue;
    scopes.push(scopeText(operation.scope));
  }
  return scopes;
}

function* load(
  { tenantId, quotas, books }: Pick<Batch, 'tenantId' | 'quotas' | 'books'>,
  wanted: ReadonlySet<QuotaKind>,
  ids: { readonly sessionIds: readonly string[]; readonly scopes: ReadonlySet<string> },
  { counts, known }: Working,
): Program<void> {
  const [locked, sessions, scopes] = yield* together([
    books.alone ? lockCounts(tenantId, wanted) : lockKnownCounts(tenantId, wanted),
    existingSessions(tenantId, ids.sessionIds),
    limitedScopes(tenantId, [...ids.scopes]),
  ]);
  // A row that is made now would be locked behind those of the handlers that come after this one.
  if (locked.size < wanted.size) books.mustBeAlone = true;
  for (const [kind, amount] of locked) counts.set(kind, amount);
  for (const each of [...sessions, ...scopes]) known.add(each);
  // Once they are locked.
  const counted = [...wanted].filter((kind): kind is CountedKind => !kept.has(kind));
  const found = yield* together(counted.map((kind) => countUpTo(tenantId, kind, quotas.tenant[kind])));
  counted.forEach((kind, index) => void counts.set(kind, found[index] ?? 0));
}
