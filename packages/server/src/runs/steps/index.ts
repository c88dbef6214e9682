/** The door of runs/steps. */
export { type AgentSource, createRunContext, type RunContext } from './context.ts';
export { budgetStop, type Stop, stoppedEvents, withEnding } from './endings.ts';
export type { Engine } from './engine.ts';
export {
  type ModelCallPlan,
  planModelCall,
  planRunAttempt,
  proposeDeniedModel,
  proposeModelAttempt,
  type RunModelAttempt,
} from './model-plan.ts';
export { assumedEvents, charge, commitProposal, merge, type Proposal, propose, type RunFence, release, settle } from './proposal.ts';
export { proposeQuestion } from './questions.ts';
export { collectApprovals, collectChildren, isUnwritable, proposeRecovery, resumedEvent } from './recovery.ts';
export { decideRound, type Round, type Start } from './round.ts';
export { subagentOf } from './subagents.ts';
export { proposeResult, type ToolEnd } from './tool-result.ts';
export { grantedWallMs, type ToolStart } from './tool-start.ts';
