import type { DecisionRecord, WireEvent } from '@nexus-agent/protocol';
import { createTextAssembler } from '@nexus-agent/sdk';
import { brief, count, duration, pad, type Stage, usd, whole } from './stage.ts';

type Data<T extends WireEvent['type']> = Extract<WireEvent, { type: T }>['data'];

interface Call {
  readonly name: string;
  readonly input: unknown;
  started: boolean;
  asked: boolean;
  denied: DecisionRecord | null;
  end: Data<'tool.completed'> | null;
}

export interface Narrator {
  /** Prints what the event means to a reader. Each event of a run, in order. */
  tell(event: WireEvent): void;
  /** Prints the tool calls of the step as far as they are. */
  pause(): void;
}

/** Tells a run as its events arrive. Everything that is printed is in the events. */
export function createNarrator(stage: Stage): Narrator {
  const { style, line } = stage;
  const text = createTextAssembler();
  const speech = stage.speech();
  const model = { name: '', speaking: false };
  let step = 0;
  let calls = new Map<string, Call>();
  let spentMicroUsd = 0;
  let inFlight = 0;
  let mostInFlight = 0;

  function say(event: WireEvent): void {
    const change = text.push(event);
    if (change === null) return;
    if (change.type === 'replace') {
      hush();
      if (change.text === '') return;
    }
    if (!model.speaking) {
      line(`${style('dim', `step ${step} ·`)} ${model.name} ${style('dim', 'answers')}`);
      model.speaking = true;
    }
    speech.write(change.text);
  }

  function hush(): void {
    if (model.speaking) speech.end();
    model.speaking = false;
  }

  /** The calls of a step, once all have ended or the run stops to wait. */
  function tellCalls(): void {
    const shown = [...calls.values()];
    calls = new Map();
    if (shown.length === 0) return;
    const width = Math.max(...shown.map((call) => call.name.length));
    shown.forEach((call, index) => {
      const corner = shown.length === 1 ? '─' : index === 0 ? '┬' : index === shown.length - 1 ? '└' : '├';
      const subject = brief(subjectOf(call.input), 54 - width);
      line(`  ${style('dim', corner)} ${pad(call.name, width)}  ${pad(subject, 54 - width)}  ${outcome(call)}`);
      if (call.denied !== null) line(`      ${style('dim', `reason: ${brief(call.denied.reasons.join(', '), 78)}`)}`);
    });
    if (mostInFlight > 1) line(`    ${style('green', `${mostInFlight} ran in parallel`)}`);
    mostInFlight = 0;
  }

  function outcome({ end, started, asked, denied }: Call): string {
    if (denied !== null) return style('red', '⊘ denied by policy');
    if (asked && end === null) return style('yellow', '? waits for a person');
    if (end === null) return style('yellow', started ? '… in flight' : '… not started');
    const took = end.durationMs === undefined ? '' : style('dim', `  ${duration(end.durationMs)}`);
    if (end.status === 'ok') return `${style('green', '✓')} ${whole(end.output.length)} characters${took}`;
    return style('red', `✗ ${end.error?.code ?? end.status}`);
  }

  function tellModel({ usage, costMicroUsd, content }: Data<'model.completed'>): void {
    hush();
    spentMicroUsd += costMicroUsd;
    const asked = content.filter((part) => part.type === 'tool_call').length;
    const tokens = `${whole(usage.inputTokens + usage.outputTokens)} tokens`;
    const what = asked === 0 ? '' : `${model.name} ${style('dim', 'asks for')} ${count(asked, 'tool')}`;
    const head = asked === 0 ? '  ' : style('dim', `step ${step} · `);
    line(`${head}${what}${style('dim', `${asked === 0 ? '' : ' · '}${tokens} · so far ${usd(spentMicroUsd)}`)}`);
  }

  return {
    pause: tellCalls,
    tell(event) {
      say(event);
      switch (event.type) {
        case 'step.started':
          step = event.data.step;
          return;
        case 'model.started':
          model.name = modelName(event.data.provider, event.data.model);
          return;
        case 'model.completed':
          return tellModel(event.data);
        case 'model.failed': {
          hush();
          const { provider, model: name, attempt, error } = event.data;
          return line(`${style('red', '✗')} ${modelName(provider, name)} ${style('dim', `attempt ${attempt}:`)} ${error.code}`);
        }
        case 'route.fallback': {
          const { from, to } = event.data;
          return line(
            `${style('yellow', '↷')} falls back from ${modelName(from.provider, from.model)} to ${modelName(to.provider, to.model)}`,
          );
        }
        case 'tool.requested': {
          const { callId, name, input } = event.data;
          calls.set(callId, { name, input, started: false, asked: false, denied: null, end: null });
          return;
        }
        case 'tool.started': {
          const call = calls.get(event.data.callId);
          if (call !== undefined) call.started = true;
          else
            calls.set(event.data.callId, {
              name: event.data.name,
              input: event.data.input,
              started: true,
              asked: false,
              denied: null,
              end: null,
            });
          inFlight += 1;
          mostInFlight = Math.max(mostInFlight, inFlight);
          return;
        }
        case 'policy.denied': {
          const call = calls.get(event.data.callId ?? '');
          if (call !== undefined) call.denied = event.data.decision;
          return;
        }
        case 'tool.completed': {
          const call = calls.get(event.data.callId);
          if (call?.started === true) inFlight -= 1;
          if (call !== undefined) call.end = event.data;
          spentMicroUsd += event.data.costMicroUsd ?? 0;
          if ([...calls.values()].every(({ end }) => end !== null)) tellCalls();
          return;
        }
        case 'approval.requested': {
          const call = calls.get(event.data.callId);
          if (call !== undefined) call.asked = true;
          return;
        }
        case 'budget.refused': {
          tellCalls();
          const { scope, unit, limit, asked, available } = event.data.refusal;
          line(`${style(['red', 'bold'], '$ stopped by its budget')} before the next ${event.data.purpose} call`);
          return line(`  ${scope.kind} limit ${amount(unit, limit)} · asked ${amount(unit, asked)} · left ${amount(unit, available)}`);
        }
        case 'step.restarted': {
          const { kind, step: at, reason } = event.data;
          return line(`${style('yellow', '↻')} restarts the ${kind} call of step ${at}: ${reason}`);
        }
        case 'run.waiting':
          tellCalls();
          return line(`${style('yellow', '…')} the run waits for ${event.data.reason === 'approval' ? 'a person' : 'a sub-agent'}`);
        case 'run.resumed':
          tellCalls();
          inFlight = 0;
          return line(
            `${style('green', '▸')} goes on (${event.data.reason}) ${style('dim', `on worker ${shortId(event.data.workerId)}, epoch ${event.data.epoch}`)}`,
          );
        case 'run.completed': {
          const { modelCalls, toolCalls, inputTokens, outputTokens, costMicroUsd } = event.data.totals;
          const facts = [
            count(modelCalls, 'model call'),
            count(toolCalls, 'tool call'),
            `${whole(inputTokens + outputTokens)} tokens`,
            usd(costMicroUsd),
          ];
          return line(`${style('green', '✓ completed')} · ${facts.join(' · ')}`);
        }
        case 'run.failed': {
          hush();
          tellCalls();
          const { error, resumable } = event.data;
          return line(`${style('red', '✗ failed')} · ${error.code}${resumable ? ' · it can be resumed' : ''}`);
        }
        case 'run.cancelled':
          return line(`${style('yellow', '■ cancelled')} · ${brief(event.data.reason, 60)}`);
        default:
          return;
      }
    },
  };
}

/** Settings of the simulator behind the name (its pace) are of no interest; that it is one always is. */
export function modelName(provider: string, model: string): string {
  const simulated = provider.startsWith('sim');
  return `${provider}/${model.split('?')[0]}${simulated ? ' (simulator)' : ''}`;
}

function subjectOf(input: unknown): unknown {
  if (typeof input !== 'object' || input === null) return input;
  for (const name of ['path', 'query', 'url', 'files', 'question']) {
    const value: unknown = name in input ? input[name as keyof typeof input] : undefined; // present, see the test before
    if (typeof value === 'string') return value;
    if (Array.isArray(value)) return `over ${value.join(', ')}`;
  }
  return Object.entries(input)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join(', ');
}

/** The end of an id: enough to tell one from another on a page. */
export function shortId(id: string): string {
  return `${id.slice(0, id.indexOf('_') + 1)}…${id.slice(-6)}`;
}

function amount(unit: string, value: number): string {
  if (unit === 'costMicroUsd') return usd(value);
  if (unit === 'wallMs') return duration(value);
  return count(value, unit === 'toolCalls' ? 'tool call' : 'token');
}
