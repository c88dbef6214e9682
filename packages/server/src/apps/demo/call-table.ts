import type { DecisionRecord, WireEvent } from '@nexus-agent/protocol';
import type { Stage } from './stage.ts';
import { elapsed, grouped, oneLine, pad } from './words.ts';

interface Call {
  readonly name: string;
  readonly input: unknown;
  started: boolean;
  asked: boolean;
  denied: DecisionRecord | null;
  end: Extract<WireEvent, { type: 'tool.completed' }>['data'] | null;
}

export interface CallTable {
  /** Follows the calls of a step, and prints them once all have ended or the run stops. */
  hear(event: WireEvent): void;
  /** Prints them as far as they are. */
  tell(): void;
}

/** Of a tool's name and what it is about: what came of it stands beside them. */
const calledWidth = 42;

/** The tool calls of a run, step by step. */
export function createCallTable({ style, line }: Pick<Stage, 'style' | 'line'>): CallTable {
  let calls = new Map<string, Call>();
  let inFlight = 0;
  let mostInFlight = 0;

  function add(callId: string, name: string, input: unknown): Call {
    const call: Call = { name, input, started: false, asked: false, denied: null, end: null };
    calls.set(callId, call);
    return call;
  }

  function tell(): void {
    const shown = [...calls.values()];
    calls = new Map();
    if (shown.length === 0) return;
    const width = Math.max(...shown.map((call) => call.name.length));
    shown.forEach((call, index) => {
      const corner = shown.length === 1 ? '─' : index === 0 ? '┬' : index === shown.length - 1 ? '└' : '├';
      const subject = oneLine(subjectOf(call.input), calledWidth - width);
      line(`  ${style('dim', corner)} ${pad(call.name, width)}  ${pad(subject, calledWidth - width)}  ${outcome(call)}`);
      if (call.denied !== null) line(`      ${style('dim', `reason: ${oneLine(call.denied.reasons.join(', '), 60)}`)}`);
    });
    if (mostInFlight > 1) line(`    ${style('green', `${mostInFlight} ran in parallel`)}`);
    mostInFlight = 0;
  }

  function outcome({ end, started, asked, denied }: Call): string {
    if (denied !== null) return style('red', '⊘ denied by policy');
    if (asked && end === null) return style('yellow', '? waits for a person');
    if (end === null) return style('yellow', started ? '… in flight' : '… not started');
    const took = end.durationMs === undefined ? '' : style('dim', `  ${elapsed(end.durationMs)}`);
    if (end.status === 'ok') return `${style('green', '✓')} ${grouped(end.output.length)} characters${took}`;
    return style('red', `✗ ${end.error?.code ?? end.status}`);
  }

  return {
    tell,
    hear(event) {
      switch (event.type) {
        case 'tool.requested':
          add(event.data.callId, event.data.name, event.data.input);
          return;
        case 'tool.started': {
          const { callId, name, input } = event.data;
          const call = calls.get(callId) ?? add(callId, name, input);
          call.started = true;
          inFlight += 1;
          mostInFlight = Math.max(mostInFlight, inFlight);
          return;
        }
        case 'policy.denied': {
          const call = calls.get(event.data.callId ?? '');
          if (call !== undefined) call.denied = event.data.decision;
          return;
        }
        case 'approval.requested': {
          const call = calls.get(event.data.callId);
          if (call !== undefined) call.asked = true;
          return;
        }
        case 'tool.completed': {
          const call = calls.get(event.data.callId);
          if (call?.started === true) inFlight -= 1;
          if (call !== undefined) call.end = event.data;
          if ([...calls.values()].every(({ end }) => end !== null)) tell();
          return;
        }
        case 'run.resumed':
          tell();
          inFlight = 0;
          return;
        case 'budget.refused':
        case 'run.waiting':
        case 'run.failed':
          return tell();
        default:
          return;
      }
    },
  };
}

function subjectOf(input: unknown): unknown {
  if (typeof input !== 'object' || input === null) return input;
  for (const name of ['path', 'query', 'url', 'files', 'question']) {
    const value: unknown = Object.hasOwn(input, name) ? input[name as keyof typeof input] : undefined; // present, see the test before
    if (typeof value === 'string') return value;
    if (Array.isArray(value)) return `over ${value.join(', ')}`;
  }
  return Object.entries(input)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join(', ');
}
