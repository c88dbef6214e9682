import type { ErrorInfo } from '@nexus-agent/protocol';
import type { CallIds, RunState } from '#runs/journal';
import {
  collectApprovals,
  collectChildren,
  collectClientResults,
  collectSleepers,
  type Engine,
  type Proposal,
  proposeResult,
  type RunContext,
} from '#runs/steps';
import type { RunModelOutcome } from './model-call.ts';
import { checkSummary, proposeAnswer, proposeFailures, proposeRequestedTools } from './model-outcome.ts';
import type { AttemptReport, Report } from './reports.ts';
import type { Stopping } from './stopping.ts';
import { proposeToolEnd } from './tool-end.ts';

export interface FactsInput {
  readonly engine: Engine;
  readonly context: RunContext;
  readonly state: RunState;
  readonly inFlight: CallIds;
  readonly stopping: Stopping;
}

/** What finished since the last round as changes to be written, and the model calls that want another attempt. */
export async function collectFacts(
  input: FactsInput,
  reports: readonly Report[],
): Promise<{ readonly facts: Proposal[]; readonly attempts: readonly AttemptReport[] }> {
  const { engine, context, state, stopping } = input;
  const facts: Proposal[] = [];
  const attempts: AttemptReport[] = [];
  let poked = false;
  const refused = new Set<string>();
  for (const report of reports) {
    switch (report.type) {
      case 'model':
        facts.push(...modelFacts(input, report.outcome));
        break;
      case 'tool': {
        const stopped = stopping.why !== null && stopping.why.type !== 'drain';
        facts.push(proposeToolEnd(engine, context, state, report.start, report.used, report.end, stopped));
        break;
      }
      case 'childless':
        for (const call of state.calls)
          if (call.callId === report.callId) facts.push(proposeResult(state, call, { type: 'error', error: report.error }));
        break;
      case 'attempt':
        attempts.push(report);
        break;
      case 'poke':
        poked = true;
        for (const artifactId of report.refused ?? []) refused.add(artifactId);
        break;
    }
  }
  if (poked) facts.push(...(await newsFromOutside(input, refused)));
  return { facts, attempts };
}

/** Answers of people, ends of sub-agents, results of clients, and times that have come that the run may wait for. */
async function newsFromOutside(
  { engine, context, state, inFlight }: FactsInput,
  refused: ReadonlySet<string>,
): Promise<readonly Proposal[]> {
  return [
    await collectApprovals(engine, context, state),
    await collectChildren(engine, context, state, inFlight),
    await collectSleepers(engine, state),
    await collectClientResults(engine, context, state, refused),
  ];
}

function modelFacts({ context, state, stopping }: FactsInput, reported: RunModelOutcome): Proposal[] {
  const outcome = checkSummary(reported);
  if (outcome.type === 'failed') {
    if (stopping.why === null && !mayFit(state, outcome))
      stopping.request({ type: 'fail', error: outcome.error, resumable: isResumable(outcome.error) });
    return [proposeFailures(outcome.failures)];
  }
  const answer = proposeAnswer(outcome);
  return outcome.attempt.call.purpose === 'compaction' ? [answer] : [answer, proposeRequestedTools(context, outcome)];
}

/** So often in a row may a request be too long before the run gives up; each time it is made shorter by what was learned. */
const maxOverflows = 6;

/** Whether the call can be made again with less text: it was too long for a model that said so, and nobody has seen anything of an answer. */
function mayFit(state: RunState, { failures, error }: Extract<RunModelOutcome, { type: 'failed' }>): boolean {
  if (error.code === 'cancelled' || failures.some(({ content }) => content.length > 0)) return false;
  const known = state.overflows;
  const before = known?.callId === state.model?.callId && known !== undefined;
  const learned = failures.filter(({ contextTokens }) => contextTokens !== undefined).length;
  return (before || learned > 0) && (known?.running ?? 0) + learned <= maxOverflows;
}

/** Whether another try, perhaps much later, may do better. */
function isResumable({ code, retryable }: ErrorInfo): boolean {
  return retryable === true || code === 'budget_exceeded' || code.startsWith('provider_');
}
