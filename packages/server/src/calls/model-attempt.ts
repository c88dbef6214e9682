import type { BudgetAmounts, ErrorInfo, ReservationId, TenantId, Usage } from '@nexus-agent/protocol';
import type { LedgerOutcome, ReserveOperation } from '#ledger';
import { costMicroUsd, type ModelRequest, type ModelTarget, reserveMicroUsd } from '#llm';
import type { ChargeContext } from './charge.ts';
import { decideForAgent, denialMessage, type RecordedDecision, wouldDeny } from './decisions.ts';
import { type CallEngine, expiry } from './engine.ts';

/** A model call that is wanted, whichever target answers it in the end. */
export interface ModelCall {
  readonly callId: string;
  /** Of the run; 1 outside of one. Policies may read it. */
  readonly step: number;
  readonly request: ModelRequest;
  /** How long one attempt may take. */
  readonly timeoutMs: number;
}

/** One attempt of it at one model, decided and ready to be reserved. */
export interface ModelAttempt<Call extends ModelCall = ModelCall> {
  readonly tenantId: TenantId;
  readonly call: Call;
  readonly target: ModelTarget;
  readonly attempt: number;
  /** The most that the request can be charged for as input at this target. */
  readonly inputTokens: number;
  readonly askedTokens: number;
  readonly decision: RecordedDecision;
  readonly reserve: ReserveOperation;
}

export type PlannedAttempt<Call extends ModelCall> =
  | { readonly type: 'planned'; readonly attempt: ModelAttempt<Call> }
  | { readonly type: 'impossible'; readonly error: ErrorInfo; readonly decision: RecordedDecision };

/**
 * Decides an attempt by policy and sizes its reservation. Called for the first attempt and for each retry or fallback.
 *
 * @param declared whether whoever set the rules lists this target; a request may name another
 * @param whole to be refused, rather than granted fewer tokens, because of what others hold
 */
export function planModelAttempt<Call extends ModelCall>(
  engine: CallEngine,
  charge: ChargeContext,
  call: Call,
  target: ModelTarget,
  { attempt, declared, whole = false }: { readonly attempt: number; readonly declared: boolean; readonly whole?: boolean },
): PlannedAttempt<Call> {
  const { price } = target;
  const { tenantId } = charge;
  const inputTokens = engine.inputCounts.bound({ tenantId, target, request: call.request });
  const inputCost = reserveMicroUsd(target, inputTokens, 0) ?? 0;
  const outputRate = (reserveMicroUsd(target, inputTokens, 1_000_000) ?? 0) - inputCost;
  const asked = Math.min(call.request.maxOutputTokens, target.maxOutputTokens);
  const question = {
    action: 'model.invoke' as const,
    resource: {
      type: 'Model' as const,
      id: `${target.provider}/${target.model}`,
      attributes: { declared, simulator: target.simulator, ignoresLimits: target.ignoresLimits === true },
    },
    context: {
      estimatedCostMicroUsd: inputCost + Math.ceil((asked * outputRate) / 1_000_000),
      priceKnown: price !== null,
      step: call.step,
    },
  };
  const decision = decideForAgent(engine, charge, call.callId, question);
  if (decision.record.effect !== 'allow') {
    // The price is the cause where nothing else is: a policy that denies the model itself would go on to do so.
    const wantsPrice =
      price === null &&
      decision.record.effect === 'deny' &&
      !wouldDeny(engine, charge, { ...question, context: { ...question.context, priceKnown: true } });
    return { type: 'impossible', decision, error: wantsPrice ? priceUnknown(decision, target) : refusedByPolicy(decision) };
  }
  const caps = decision.record.obligations?.flatMap((obligation) => (obligation.type === 'cap_tokens' ? [obligation.maxTokens] : [])) ?? [];
  const askedTokens = Math.min(asked, ...caps);
  const timeoutMs = timeLeft(engine, charge, call.timeoutMs);
  return {
    type: 'planned',
    attempt: {
      tenantId,
      call,
      target,
      attempt,
      inputTokens,
      askedTokens,
      decision,
      reserve: {
        type: 'reserve',
        reservationId: engine.ids.next<ReservationId>('reservation'),
        runId: charge.runId,
        scopes: charge.scopes,
        model: accountName(target),
        fixed: { tokens: inputTokens, costMicroUsd: inputCost },
        tokens: { min: Math.min(engine.settings.minUsefulTokens, askedTokens), max: askedTokens, costMicroUsdPerMillion: outputRate },
        ...(whole ? { whole } : {}),
        wallMs: { min: Math.min(1_000, timeoutMs), max: timeoutMs },
        ...expiry(engine, timeoutMs),
      },
    },
  };
}

/** A model as the accounts name it: the simulator takes its settings in the name, after a `?`. */
function accountName({ provider, model, simulator }: ModelTarget): string {
  return `${provider}/${simulator ? model.replace(/\?.*$/s, '') : model}`;
}

function priceUnknown({ record }: RecordedDecision, { nearPrice, provider, model }: ModelTarget): ErrorInfo {
  const name = `${provider}/${model}`;
  const configuration = `prices:\n  ${JSON.stringify(name)}: { inputMicroUsdPerMillion: 250000, outputMicroUsdPerMillion: 2000000 }`;
  const near = nearPrice === undefined ? '' : ` There is one for ${JSON.stringify(nearPrice)}: was that meant?`;
  const message = `no price is known for ${name}, so what it costs cannot be kept within a budget.${near} State it in nexus.config.yaml, here as $0.25 and $2 per million tokens, or \`free\` for a machine of your own:\n${configuration}`;
  return { code: 'price_unknown', message, retryable: false, details: { decisionId: record.id, model: name, configuration } };
}

function refusedByPolicy({ record }: RecordedDecision): ErrorInfo {
  const code = 'policy_denied' as const;
  return { code, message: denialMessage(record), retryable: false, details: { decisionId: record.id } };
}

/** How long something may take that has a limit of its own and ends with the deadline of its charge context; at least 1 ms. */
export function timeLeft(engine: Pick<CallEngine, 'clock'>, { deadlineAt }: Pick<ChargeContext, 'deadlineAt'>, timeoutMs: number): number {
  return Math.max(1, Math.min(timeoutMs, deadlineAt === null ? Number.POSITIVE_INFINITY : deadlineAt - engine.clock.now()));
}

/** What the budget granted an attempt; the call must be held to it. */
export interface ModelGrant {
  readonly maxTokens: number;
  readonly wallMs: number;
}

/** What a reserve for a model attempt was granted. */
export function modelGrant(attempt: ModelAttempt, outcome: LedgerOutcome | undefined): ModelGrant {
  const granted = outcome?.type === 'reserved' ? outcome : null;
  return { maxTokens: granted?.maxTokens ?? attempt.askedTokens, wallMs: granted?.wallMs ?? attempt.reserve.wallMs?.max ?? 0 };
}

/** What an attempt used, in the units of the ledger. */
export function modelAmounts(
  { target }: ModelAttempt,
  grant: ModelGrant,
  usage: Usage,
  durationMs: number,
): BudgetAmounts & { readonly costMicroUsd: number } {
  return {
    tokens: usage.inputTokens + usage.outputTokens,
    // A target without a price never gets this far unless an operator's policy lets it; it then counts tokens only.
    costMicroUsd: costMicroUsd(target, usage) ?? 0,
    wallMs: Math.min(Math.ceil(durationMs), grant.wallMs),
  };
}
