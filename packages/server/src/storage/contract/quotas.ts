import { dictionary } from '@nexus-agent/protocol';
import { NexusError } from '#core';

/** How much a tenant may have of each. Infinity for no limit. */
export interface TenantQuotas {
  readonly sessions: number;
  readonly agents: number;
  /** Versions of one agent. */
  readonly agentVersions: number;
  /** Keys that were not revoked. */
  readonly keys: number;
  /** Approvals that wait for an answer. */
  readonly approvals: number;
  readonly idempotencyKeys: number;
  /** Runs that wait for their turn, without those that runs started. */
  readonly queuedRuns: number;
  /** Scopes with a limit, other than sessions and runs. */
  readonly budgets: number;
  /** What tools come from: servers, plugins, pools of workers. */
  readonly toolSources: number;
  /** Files of all sessions and forks. */
  readonly files: number;
  /** Contents that are kept, older versions of files included. */
  readonly contents: number;
  readonly contentBytes: number;
}

/** How much the files of one session, or of a fork, may be. */
export interface TreeQuotas {
  readonly maxFiles: number;
  readonly maxBytes: number;
  /** Names of all paths; one for each 100 characters where that is more. */
  readonly maxNames: number;
}

/** How many results of tools one session may keep. */
export interface ArtifactQuotas {
  readonly maxCount: number;
  readonly maxBytes: number;
}

export interface Quotas {
  readonly tenant: TenantQuotas;
  readonly tree: TreeQuotas;
  readonly artifacts: ArtifactQuotas;
}

export type QuotaKind = keyof TenantQuotas;

const none = Number.POSITIVE_INFINITY;
export const unlimited: Quotas = {
  tenant: {
    sessions: none,
    agents: none,
    agentVersions: none,
    keys: none,
    approvals: none,
    idempotencyKeys: none,
    queuedRuns: none,
    budgets: none,
    toolSources: none,
    files: none,
    contents: none,
    contentBytes: none,
  },
  tree: { maxFiles: none, maxBytes: none, maxNames: none },
  artifacts: { maxCount: none, maxBytes: none },
};

const told: Record<QuotaKind, { readonly what: string; readonly advice: string }> = dictionary({
  sessions: { what: 'sessions', advice: 'delete some (DELETE /v1/sessions/{id}), or let retention.sessionsDays be shorter' },
  agents: { what: 'agents', advice: 'delete some (DELETE /v1/agents/{name})' },
  agentVersions: { what: 'versions of this agent', advice: 'delete the agent and put it again: versions that nothing uses go with it' },
  keys: { what: 'API keys', advice: 'revoke some (DELETE /v1/keys/{id})' },
  approvals: { what: 'approvals without an answer', advice: 'answer some, or cancel their runs' },
  idempotencyKeys: {
    what: 'idempotency keys',
    advice: 'send none where a repetition does no harm, or let retention.idempotencyDays be shorter',
  },
  queuedRuns: { what: 'queued runs', advice: 'try again when some have begun, or cancel some' },
  budgets: { what: 'scopes with a budget', advice: 'take some limits away (DELETE /v1/budgets)' },
  toolSources: { what: 'sources of tools', advice: 'remove some (nexus tools sources)' },
  files: { what: 'files in all sessions', advice: 'delete files, or sessions' },
  contents: { what: 'kept contents of files', advice: 'delete sessions; what nothing has any more goes after retention.contentsDays' },
  contentBytes: {
    what: 'bytes of kept contents of files',
    advice: 'delete sessions; what nothing has any more goes after retention.contentsDays',
  },
});

/** Kinds that come to an end by themselves, soon: trying again makes sense, unless more is wanted at once than there may ever be. */
const passing: ReadonlySet<QuotaKind> = new Set<QuotaKind>(['queuedRuns', 'approvals']);

/** Throws `quota_exceeded` unless `used` and `more` together are within the limit. */
export function requireQuota(quotas: TenantQuotas, kind: QuotaKind, used: number, more = 1): void {
  const limit = quotas[kind];
  if (more <= 0 || used + more <= limit) return;
  const { what, advice } = told[kind];
  const wants = more === 1 ? '' : `, and ${more} more were wanted`;
  throw new NexusError('quota_exceeded', `the tenant may have ${limit} ${what} (quotas.${kind}) and has ${used}${wants}; ${advice}`, {
    details: { what: kind, limit, used, setting: `quotas.${kind}` },
    ...(passing.has(kind) && more <= limit ? { retryable: true, retryAfterMs: 5_000 } : {}),
  });
}
