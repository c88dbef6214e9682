import type { ErrorInfo } from '@nexus-agent/protocol';
import type { CallIds, RunState } from '#runs/journal';
import { collectApprovals, collectChildren, type Engine, type Proposal, proposeResult, type RunContext } from '#runs/steps';
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
  const { engine, context, state, inFlight, stopping } = input;
  const facts: Proposal[] = [];
  const attempts: AttemptReport[] = [];
  let poked = false;
  for (const report of reports) {
    switch (report.type) {
      case 'model':
        facts.push(...modelFacts(context, stopping, report.outcome));
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
        break;
    }
  }
  if (poked) facts.push(...(await newsFromOutside(engine, context, state, inFlight)));
  return { facts, attempts };
}

/** Answers of people and ends of sub-agents that the run may wait for. */
async function newsFromOutside(engine: Engine, context: RunContext, state: RunState, inFlight: CallIds): Promise<readonly Proposal[]> {
  return [await collectApprovals(engine, context, state), await collectChildren(engine, context, state, inFlight)];
}

function modelFacts(context: RunContext, stopping: Stopping, reported: RunModelOutcome): Proposal[] {
  const outcome = checkSummary(reported);
  if (outcome.type === 'failed') {
    if (stopping.why === null) stopping.request({ type: 'fail', error: outcome.error, resumable: isResumable(outcome.error) });
    return [proposeFailures(outcome.failures)];
  }
  const answer = proposeAnswer(outcome);
  return outcome.attempt.call.purpose === 'compaction' ? [answer] : [answer, proposeRequestedTools(context, outcome)];
}

/** Whether another try, perhaps much later, may do better. */
function isResumable({ code, retryable }: ErrorInfo): boolean {
  return retryable === true || code === 'budget_exceeded' || code.startsWith('provider_');
}
