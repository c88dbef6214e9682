import { type EventType, isTerminal, type RunStatus, WireEvent } from '@nexus-agent/protocol';
import type { StreamFrame } from '#runs';

/** What a follower of a run needs of an event. */
export interface RunStep {
  readonly seq: number;
  /** For whoever waits; null for what is not worth a word. */
  readonly message: string | null;
  /** The run goes no further by itself: it has ended, or waits for a person or another agent. */
  readonly pauses: 'ended' | 'waiting' | null;
}

/** The types of which something is said: all others are passed over without being parsed. */
const told: ReadonlySet<EventType> = new Set<EventType>([
  'run.started',
  'run.resumed',
  'step.started',
  'model.started',
  'route.fallback',
  'tool.started',
  'tool.completed',
  'approval.decided',
  'budget.refused',
  'run.waiting',
]);

const ended: ReadonlySet<EventType> = new Set<EventType>(
  (['completed', 'failed', 'cancelled'] satisfies RunStatus[]).filter(isTerminal).map((status): EventType => `run.${status}`),
);

/** Null for what is on the stream only, such as the text of a model while it comes. */
export function stepOf({ id, event, data, rest }: StreamFrame): RunStep | null {
  if (id === null || id.includes('.')) return null;
  const seq = Number(id);
  if (ended.has(event)) return { seq, message: null, pauses: 'ended' };
  // One so long that it is read in pieces has much to say, and nothing for a line of progress.
  if (!told.has(event) || rest !== undefined) return { seq, message: null, pauses: null };
  const parsed = WireEvent.parse(JSON.parse(data));
  const pauses = parsed.type === 'run.waiting' ? 'waiting' : null;
  return { seq, message: wordsOn(parsed), pauses };
}

function wordsOn(event: WireEvent): string | null {
  switch (event.type) {
    case 'run.started':
      return 'started';
    case 'run.resumed':
      return `goes on (${event.data.reason})`;
    case 'step.started':
      return `step ${event.data.step}`;
    case 'model.started':
      return `asks ${event.data.provider}/${event.data.model}`;
    case 'route.fallback':
      return `asks ${event.data.to.provider}/${event.data.to.model} instead of ${event.data.from.provider}/${event.data.from.model}`;
    case 'tool.started':
      return `runs ${event.data.name}`;
    case 'tool.completed':
      return `${event.data.name}: ${event.data.status}`;
    case 'approval.decided':
      return `${event.data.decision} by ${event.data.decidedBy}`;
    case 'budget.refused':
      return 'a budget refused';
    case 'run.waiting':
      return `waits for ${event.data.reason === 'approval' ? 'a person' : event.data.reason === 'child' ? 'another agent' : (event.data.until ?? 'its client')}`;
    default:
      return null;
  }
}
