/** The door of runs/journal. */
export { forkEvents } from './fork.ts';
export { listMessages } from './messages.ts';
export { type CallIds, type NextAction, nextAction, type RunLimits } from './next-action.ts';
export { replayRun } from './replay.ts';
export { createTranscripts, type Transcripts } from './session-log.ts';
export { changedArguments } from './spoken.ts';
export { emptyTotals, initialState, type RunState, type Summary, type SuspensionState, type ToolCallState } from './state.ts';
export { conversation, emptyTranscript, loadState, readJournal, type Transcript, toJournalEvent } from './transcript.ts';
export { fold, foldNew, nestedCallId, stateHash, toolCallId } from './transitions.ts';
