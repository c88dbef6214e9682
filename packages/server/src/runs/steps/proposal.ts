import type { BudgetAmounts, JournalData, NewEvent, RunId, SessionId, TenantId } from '@nexus-agent/protocol';
import type { LedgerOperation, LedgerOutcome } from '#ledger';
import { foldNew, type RunState } from '#runs/journal';
import type { ApprovalRow, Commit, CommitResult, DecisionRow, RunPatch, Store } from '#storage';

/**
 * A change of a run that is not written yet: what the ledger is to do, and the events that follow from its answers.
 * Proposals are merged so that what just finished and what starts next share one transaction.
 */
export interface Proposal {
  readonly ledger: readonly LedgerOperation[];
  /** What finished calls changed of files. */
  readonly files: NonNullable<Commit['files']>;
  /** What is kept of their results. */
  readonly artifacts: NonNullable<Commit['artifacts']>;
  readonly decisions: readonly DecisionRow[];
  readonly approvals: readonly ApprovalRow[];
  readonly closeApprovals: NonNullable<Commit['closeApprovals']>;
  /** Pure; gets the outcomes of this proposal's own operations, in order. */
  readonly events: (outcomes: readonly LedgerOutcome[]) => readonly NewEvent[];
  readonly patch: RunPatch;
  readonly wake: readonly RunId[];
  /** The session that the run leaves to others, as it ends or waits. */
  readonly leaves?: SessionId | undefined;
}

export function propose(
  parts: Partial<Omit<Proposal, 'events'>> & { readonly events?: Proposal['events'] | readonly NewEvent[] },
): Proposal {
  const { events = [], ...rest } = parts;
  return {
    ledger: [],
    files: [],
    artifacts: [],
    decisions: [],
    approvals: [],
    closeApprovals: [],
    patch: {},
    wake: [],
    ...rest,
    events: typeof events === 'function' ? events : () => events,
  };
}

export function merge(proposals: readonly Proposal[]): Proposal {
  const [only] = proposals;
  if (only !== undefined && proposals.length === 1) return only;
  const ledger: LedgerOperation[] = [];
  const files: Proposal['files'][number][] = [];
  const artifacts: Proposal['artifacts'][number][] = [];
  const decisions: DecisionRow[] = [];
  const approvals: ApprovalRow[] = [];
  const closeApprovals: Proposal['closeApprovals'][number][] = [];
  const wake: RunId[] = [];
  const patch: RunPatch = {};
  let leaves: SessionId | undefined;
  for (const proposal of proposals) {
    ledger.push(...proposal.ledger);
    files.push(...proposal.files);
    artifacts.push(...proposal.artifacts);
    decisions.push(...proposal.decisions);
    approvals.push(...proposal.approvals);
    closeApprovals.push(...proposal.closeApprovals);
    wake.push(...proposal.wake);
    Object.assign(patch, proposal.patch);
    leaves ??= proposal.leaves;
  }
  return {
    ledger,
    files,
    artifacts,
    decisions,
    approvals,
    closeApprovals,
    patch,
    wake,
    leaves,
    events(outcomes) {
      const events: NewEvent[] = [];
      let used = 0;
      for (const proposal of proposals) {
        const own = proposal.ledger.length === 0 ? none : outcomes.slice(used, used + proposal.ledger.length);
        used += proposal.ledger.length;
        events.push(...proposal.events(own));
      }
      return events;
    },
  };
}

const none: readonly LedgerOutcome[] = [];

/** The answer that an operation gets when nothing is in its way: lets the next decision be made before the commit. */
function assumedOutcome(operation: LedgerOperation): LedgerOutcome {
  switch (operation.type) {
    case 'reserve':
      return {
        type: 'reserved',
        amounts: operation.fixed,
        maxTokens: operation.tokens?.max ?? null,
        wallMs: operation.wallMs?.max ?? null,
        duplicate: false,
      };
    case 'settle':
      return { type: 'settled', amounts: operation.actual, outcome: 'settled' };
    case 'release':
      return { type: 'settled', amounts: {}, outcome: 'released' };
    case 'charge':
      return { type: 'settled', amounts: {}, outcome: 'charged_maximum' };
    case 'limit':
    case 'unlimit':
      return { type: 'limited' };
    case 'bound':
      return { type: 'bounded' };
  }
}

export function assumedEvents(proposal: Proposal): readonly NewEvent[] {
  return proposal.events(proposal.ledger.map(assumedOutcome));
}

/** Ends a reservation with what was really used. */
export function settle(reservationId: string, actual: BudgetAmounts, options: { readonly heir?: string | undefined } = {}): Proposal {
  return finishing({ type: 'settle', reservationId, actual, ...heirOf(options) });
}

/** Ends the reservation of work that never started. `adds`: what that takes from the totals. */
export function release(reservationId: string, options: { readonly heir?: string | undefined; readonly adds?: Additions } = {}): Proposal {
  return finishing({ type: 'release', reservationId, ...heirOf(options) }, () => options.adds);
}

/**
 * Ends the reservation of work whose use nobody knows: the least that is known to be enough is charged. Where the sweeper came
 * first, what it charged is journalled.
 *
 * @param inputTokens of a model call: what of its tokens was for the input
 */
export function charge(
  reservationId: string,
  { atMost, inputTokens = 0 }: { readonly atMost?: BudgetAmounts; readonly inputTokens?: number | undefined } = {},
): Proposal {
  return finishing({ type: 'charge', reservationId, ...(atMost === undefined ? {} : { atMost }) }, ({ tokens = 0 }) => {
    const input = Math.min(inputTokens, tokens);
    return tokens === 0 ? undefined : { inputTokens: input, outputTokens: tokens - input };
  });
}

type Additions = JournalData<'budget.settled'>['adds'];

function heirOf({ heir }: { readonly heir?: string | undefined }) {
  return heir === undefined ? {} : { heir };
}

function finishing(
  operation: Extract<LedgerOperation, { type: 'settle' | 'release' | 'charge' }>,
  addsOf: (amounts: BudgetAmounts) => Additions = () => undefined,
): Proposal {
  const { reservationId } = operation;
  const settled = (amounts: BudgetAmounts, outcome: JournalData<'budget.settled'>['outcome']): NewEvent => {
    const adds = addsOf(amounts);
    return { type: 'budget.settled', data: { reservationId, amounts, outcome, ...(adds === undefined ? {} : { adds }) } };
  };
  return propose({
    ledger: [operation],
    events([outcome]) {
      if (outcome?.type === 'settled') return [settled(outcome.amounts, outcome.outcome)];
      if (outcome?.type === 'ignored' && outcome.charged !== undefined) return [settled(outcome.charged, 'charged_maximum')];
      return [];
    },
  });
}

/** Where the proposals of a run are written: its fence moves on with each commit. */
export interface RunFence {
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly epoch: number;
  readonly owner: string;
}

/**
 * @param state as it is before, at the end of the journal
 * @param onFolded is given the state after it, each time that the store decides
 */
export function commitProposal(
  store: Store,
  fence: RunFence,
  state: RunState,
  proposal: Proposal,
  onFolded?: (after: RunState) => void,
): Promise<CommitResult> {
  return store.commit({
    tenantId: fence.tenantId,
    run: { runId: fence.runId, epoch: fence.epoch, owner: fence.owner, lastSeq: state.lastSeq, patch: proposal.patch },
    events: proposal.events,
    totals(events) {
      const after = foldNew(state, events);
      onFolded?.(after);
      return after.totals;
    },
    ledger: proposal.ledger,
    ...(proposal.files.length === 0 ? {} : { files: proposal.files }),
    ...(proposal.artifacts.length === 0 ? {} : { artifacts: proposal.artifacts }),
    decisions: proposal.decisions,
    approvals: proposal.approvals,
    closeApprovals: proposal.closeApprovals,
    wake: proposal.wake,
    ...(proposal.leaves === undefined ? {} : { leaves: proposal.leaves }),
  });
}
