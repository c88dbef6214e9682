/**
 * The door of runs/steps: one round of a run, decided before anything of it happens. `decideRound` looks at the state and answers what
 * to write (a `Proposal`: ledger operations, and the events that follow from the ledger's answers) and what to start once that is
 * written (a `Start`: a proposal with its `Effect`, a model or tool call). Deciding goes on with a draft of the state, as if the ledger
 * granted everything (`assumedEvents`); when it does not, nothing of the round is written as one, and `drive` writes each part by itself.
 */
export { chargeAllOpen } from './charging.ts';
export { awaitsClient, clientResultId, collectClientResults, keptOf } from './client-calls.ts';
export { type AgentSource, createRunContext, type RunContext } from './context.ts';
export { budgetStop, faultOfOutputSchema, type Stop, stoppedEvents, withEnding } from './endings.ts';
export type { Engine } from './engine.ts';
export { judgeCall, toolsOf } from './judge-call.ts';
export { joinSummary } from './kept-effects.ts';
export {
  type ModelCallPlan,
  planModelCall,
  planRunAttempt,
  proposeDeniedModel,
  proposeModelAttempt,
  type RunModelAttempt,
  tooSmallFor,
} from './model-plan.ts';
export { originsOf } from './origins.ts';
export { assumedEvents, commitProposal, merge, type Proposal, propose, type RunFence, release, settle } from './proposal.ts';
export { proposeQuestion } from './questions.ts';
export { collectApprovals, collectChildren, isUnwritable, proposeRecovery, resumedEvent } from './recovery.ts';
export { type RejoinedTool, rejoinedTools } from './rejoining.ts';
export { decideRound, type Round, type Start } from './round.ts';
export { collectSleepers } from './sleeping.ts';
export { subagentOf } from './subagents.ts';
export { artifactInEvent, proposeResult, type ToolEnd } from './tool-result.ts';
export { type BegunTool, calledBy, callingOf, grantedWallMs, type ToolStart } from './tool-start.ts';
