import type { AssistantPart, JournalEvent, Message, RunReading, SessionReading, ToolCallPart, ToolResultPart } from '@nexus-agent/protocol';
import { dictionary, isTerminal } from '@nexus-agent/protocol';
import { changedArguments, withSomethingSaid } from './spoken.ts';
import { initialState, type RunState, type Summary, type ToolCallState } from './state.ts';
import { transition } from './transitions.ts';

/** A run as later ones of its session are told of it: what was asked, what was done, and how it stands. */
export interface RunTurn {
  readonly read: RunReading;
  /** Begins with the person and ends with the assistant; every tool call in it has a result. */
  readonly messages: readonly Message[];
  /** May still go on: it runs, waits, or failed in a way that lets it be resumed. */
  readonly isOpen: boolean;
  /** What this run itself was shown. Absent while it has not begun, for a copy of another run, and in journals that do not say. */
  readonly reading: SessionReading | undefined;
  readonly summary: Summary | null;
  /** How many of the `messages` the first `count` of the run's own messages make. */
  readonly shown: (count: number) => number;
  /** Characters that it takes in memory, about. */
  readonly chars: number;
}

/** Folds the journal of a run, event by event, into the turn that it is up to there. */
export class TurnReader {
  #state = initialState;
  #reason: string | null = null;
  #copied: number | null = null;

  add(event: JournalEvent): void {
    if (event.type === 'run.started') this.#copied ??= this.#state.messages.length;
    if (event.type === 'run.cancelled') this.#reason = event.data.reason;
    this.#state = transition(this.#state, event);
  }

  /** The run that this one is a fork of. */
  get original(): string | undefined {
    return this.#state.created?.forkOf?.runId;
  }

  /** @param isOriginalTold whether the same log has the original of this fork, which tells of what was copied from it */
  turn({ runId, at }: Pick<RunReading, 'runId' | 'at'>, chars: number, isOriginalTold: boolean): RunTurn {
    const state = this.#state;
    const copied = isOriginalTold ? (this.#copied ?? state.messages.length) : 1;
    return {
      read: { runId, seq: state.lastSeq, at },
      messages: turnMessages(state, this.#reason, copied),
      isOpen: !isTerminal(state.status) || (state.status === 'failed' && state.resumable),
      reading: this.original === undefined ? (state.created?.reading ?? state.reading) : undefined,
      summary: state.summary,
      shown: (count) => (count <= 0 ? 0 : 1 + Math.max(0, count - copied)),
      chars,
    };
  }
}

function turnMessages(state: RunState, reason: string | null, copied: number): readonly Message[] {
  const told = isRefusedText(state) ? withoutUnanswered(state.messages) : state.messages;
  const messages = told.filter((_, index) => index === 0 || index >= copied).map(withSomethingSaid);
  const last = messages.at(-1);
  const asked = last?.role === 'assistant' ? last.content.filter((part) => part.type === 'tool_call') : [];
  if (asked.length > 0) messages.push({ role: 'tool', content: asked.map((part, index) => resultOf(state, part, index)) });
  const note = noteOf(state, reason);
  if (note === null) return messages;
  const said: AssistantPart = { type: 'text', text: note };
  const end = messages.at(-1);
  if (end?.role === 'assistant') return [...messages.slice(0, -1), { role: 'assistant', content: [...end.content, said] }];
  return [...messages, { role: 'assistant', content: [said] }];
}

/** Its provider refused to read it, and not only to answer it: what was refused once would be refused with every later message. */
function isRefusedText({ status, error }: RunState): boolean {
  return status === 'failed' && error?.code === 'content_filtered' && error.details?.status !== undefined;
}

const refusedInput = '(What was asked here is left out: the provider of the model refused to read it.)';
const refusedResult = '(The call was made. What it gave is left out: the provider of the model refused to read it.)';

/** The messages, with a note in place of what came after the last answer of the model: nothing before was refused. */
function withoutUnanswered(messages: readonly Message[]): readonly Message[] {
  const answered = messages.findLastIndex(({ role }) => role === 'assistant');
  return messages.map((message, index): Message => {
    if (index <= answered || message.role === 'assistant') return message;
    if (message.role === 'user') return { role: 'user', content: [{ type: 'text', text: refusedInput }] };
    return { role: 'tool', content: message.content.map((result) => ({ ...result, output: refusedResult })) };
  });
}

/** How the run stands, in the words of the assistant; null when its own last word says it. */
function noteOf(state: RunState, reason: string | null): string | null {
  switch (state.status) {
    case 'completed':
      return null;
    case 'failed': {
      const why = state.error === null ? '' : `: ${clip(state.error.message)}`;
      return `(This turn failed before I could finish it${why}. What the results above say was done has been done.)`;
    }
    case 'cancelled': {
      const why = reason === null || reason === '' ? '' : `: ${clip(reason)}`;
      return `(This turn was cancelled before I could finish it${why}. What the results above say was done has been done.)`;
    }
    case 'waiting':
      return `(This turn is not finished: it waits for ${waitsFor[state.waitingFor?.reason ?? 'approval']}.)`;
    case 'running':
      return '(This turn is not finished: it is still being worked on.)';
    case 'queued':
      return '(This turn has not been begun yet.)';
  }
}

const waitsFor = dictionary({
  approval: 'a person',
  child: 'another agent',
  timer: 'a time that has not come',
  client: 'the program that started it',
} as const);

const maxReasonChars = 500;

function clip(text: string): string {
  const short = text.length > maxReasonChars ? `${text.slice(0, maxReasonChars)}…` : text;
  return short.toWellFormed().replace(/[\s.]+$/, '');
}

/** The result of a call of the run's last step, whether or not it has one. */
function resultOf(state: RunState, { providerCallId, name }: ToolCallPart, index: number): ToolResultPart {
  const call = state.calls.find((candidate) => candidate.index === index && candidate.parentCallId === undefined);
  const named = { type: 'tool_result' as const, providerCallId, name };
  if (call?.phase.type === 'completed') return { ...named, output: call.phase.output, isError: call.phase.isError };
  const ended = isTerminal(state.status);
  const changed = call === undefined ? null : changedArguments(call);
  const said = ended ? cutOff(state, call) : pending(call);
  return { ...named, output: changed === null ? said : `${said} ${changed}`, isError: ended };
}

function cutOff({ status }: RunState, call: ToolCallState | undefined): string {
  if (call?.phase.type === 'asleep' && call.phase.awaits === undefined) return `Cut off: it was to wait until ${call.phase.until}.`;
  if (call?.phase.type === 'started' || call?.attempt != null)
    return `Cut off when the turn ${status === 'failed' ? 'failed' : 'was cancelled'}. It is not known whether this took effect: look before it is done again.`;
  return `Not run: the turn ${status === 'failed' ? 'failed' : 'was cancelled'} before.`;
}

function pending(call: ToolCallState | undefined): string {
  switch (call?.phase.type) {
    case 'awaiting':
      if (call.phase.kind === 'question') return 'Still waiting for the answer of a person.';
      if (call.phase.kind === 'unknown_outcome') return 'Cut off. A person is being asked whether it took effect; do not do it again.';
      return 'Not run yet: still waiting for a person to allow or deny it.';
    case 'asleep':
      if (call.phase.awaits === 'client') return 'Still waiting for the result of the program that is to do it.';
      return `Still waiting, until ${call.phase.until}.`;
    case 'started':
    case 'suspended':
      return call.attempt?.childRunId == null ? 'Still running.' : 'Still being worked on by the other agent.';
    default:
      return 'Not run yet.';
  }
}
