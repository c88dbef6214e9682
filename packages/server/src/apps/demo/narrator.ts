import type { WireEvent } from '@nexus-agent/protocol';
import { createTextAssembler } from '@nexus-agent/sdk';
import { createCallTable } from './call-table.ts';
import type { Stage } from './stage.ts';
import { counted, dollars, elapsed, grouped, oneLine } from './words.ts';

type Data<T extends WireEvent['type']> = Extract<WireEvent, { type: T }>['data'];

export interface Narrator {
  /** Prints what the event means to a reader. Each event of a run, in order. */
  tell(event: WireEvent): void;
  /** Prints the tool calls of the step as far as they are. */
  pause(): void;
}

/** Tells a run as its events arrive. Everything that is printed is in the events. */
export function createNarrator(stage: Stage): Narrator {
  const { style, line } = stage;
  const voice = createVoice(stage);
  const calls = createCallTable(stage);
  let spentMicroUsd = 0;

  return {
    pause: calls.tell,
    tell(event) {
      voice.hear(event);
      if (event.type === 'model.completed' || event.type === 'model.failed' || event.type === 'run.failed') voice.hush();
      calls.hear(event);
      switch (event.type) {
        case 'model.completed':
          spentMicroUsd += event.data.costMicroUsd;
          return voice.tellUsage(event.data, spentMicroUsd);
        case 'tool.completed':
          spentMicroUsd += event.data.costMicroUsd ?? 0;
          return;
        case 'budget.refused': {
          const { scope, unit, limit, asked, available } = event.data.refusal;
          line(`${style(['red', 'bold'], '$ stopped by its budget')} before the next ${event.data.purpose} call`);
          return line(`  ${scope.kind} limit ${amount(unit, limit)} · asked ${amount(unit, asked)} · left ${amount(unit, available)}`);
        }
        default: {
          const words = describe(event, style);
          if (words !== null) line(words);
        }
      }
    },
  };
}

/** What the models say, as they say it. */
function createVoice(stage: Stage) {
  const { style, line } = stage;
  const text = createTextAssembler();
  const speech = stage.speech();
  let step = 0;
  let model = '';
  let speaking = false;

  function hush(): void {
    if (speaking) speech.end();
    speaking = false;
  }

  function say(event: WireEvent): void {
    const change = text.push(event);
    if (change === null) return;
    if (change.type === 'replace') {
      hush();
      if (change.text === '') return;
    }
    if (!speaking) {
      line(`${style('dim', `step ${step} ·`)} ${model} ${style('dim', 'answers')}`);
      speaking = true;
    }
    speech.write(change.text);
  }

  return {
    hush,
    hear(event: WireEvent): void {
      say(event);
      if (event.type === 'step.started') step = event.data.step;
      if (event.type === 'model.started') model = modelName(event.data.provider, event.data.model);
    },
    tellUsage({ usage, content }: Data<'model.completed'>, spentMicroUsd: number): void {
      const asked = content.filter((part) => part.type === 'tool_call').length;
      const tokens = `${grouped(usage.inputTokens + usage.outputTokens)} tokens`;
      const what = asked === 0 ? '' : `${model} ${style('dim', '→')} ${counted(asked, 'tool')}`;
      const head = asked === 0 ? '  ' : style('dim', `step ${step} · `);
      line(`${head}${what}${style('dim', `${asked === 0 ? '' : ' · '}${tokens} · so far ${dollars(spentMicroUsd)}`)}`);
    },
  };
}

/** An event that is told in one line, whatever came before; null for any other. */
function describe(event: WireEvent, style: Stage['style']): string | null {
  switch (event.type) {
    case 'model.failed': {
      const { provider, model, attempt, error } = event.data;
      return `${style('red', '✗')} ${modelName(provider, model)} ${style('dim', `attempt ${attempt}:`)} ${error.code}`;
    }
    case 'route.fallback': {
      const { from, to } = event.data;
      return `${style('yellow', '↷')} falls back from ${modelName(from.provider, from.model)} to ${modelName(to.provider, to.model)}`;
    }
    case 'step.restarted': {
      const { kind, step, reason } = event.data;
      return `${style('yellow', '↻')} restarts the ${kind} call of step ${step}: ${reason}`;
    }
    case 'run.waiting':
      return `${style('yellow', '…')} the run waits for ${event.data.reason === 'approval' ? 'a person' : event.data.reason === 'child' ? 'a sub-agent' : (event.data.until ?? 'its client')}`;
    case 'run.resumed': {
      const { reason, workerId, epoch } = event.data;
      return `${style('green', '▸')} goes on (${reason}) ${style('dim', `on worker ${shortId(workerId)}, epoch ${epoch}`)}`;
    }
    case 'run.completed': {
      const { modelCalls, toolCalls, inputTokens, outputTokens, costMicroUsd } = event.data.totals;
      const facts = [
        counted(modelCalls, 'model call'),
        counted(toolCalls, 'tool call'),
        `${grouped(inputTokens + outputTokens)} tokens`,
        dollars(costMicroUsd),
      ];
      return `${style('green', '✓ completed')} · ${facts.join(' · ')}`;
    }
    case 'run.failed': {
      const { error, resumable } = event.data;
      return `${style('red', '✗ failed')} · ${error.code}${resumable ? ' · it can be resumed' : ''}`;
    }
    case 'run.cancelled':
      return `${style('yellow', '■ cancelled')} · ${oneLine(event.data.reason, 60)}`;
    default:
      return null;
  }
}

/** Settings of the simulator behind the name (its pace) are of no interest; that it is one always is. */
export function modelName(provider: string, model: string): string {
  const simulated = provider.startsWith('sim');
  return `${provider}/${model.split('?')[0]}${simulated ? ' (simulator)' : ''}`;
}

/** The end of an id: enough to tell one from another on a page. */
export function shortId(id: string): string {
  return `${id.slice(0, id.indexOf('_') + 1)}…${id.slice(-6)}`;
}

function amount(unit: string, value: number): string {
  if (unit === 'costMicroUsd') return dollars(value);
  if (unit === 'wallMs') return elapsed(value);
  return counted(value, unit === 'toolCalls' ? 'tool call' : 'token');
}
