import type { RunTotals, WireEvent } from '@nexus-agent/protocol';
import { brief, count, duration, type Style, usd } from './style.ts';

/**
 * What a person needs to read of an event, as lines; empty where the event is of no interest to them. `told` is the message of the
 * last failed attempt: what is the same is not said at length again.
 */
export function describeEvent(event: WireEvent, style: Style, told = ''): string[] {
  switch (event.type) {
    case 'run.created':
      return [`${style('cyan', '●')} ${event.runId} · agent ${event.data.agent} · session ${event.data.sessionId}`];
    case 'model.started': {
      const { provider, model, attempt, step, purpose } = event.data;
      const what = purpose === 'compaction' ? ' · summarising old turns' : attempt > 1 ? ` · attempt ${attempt}` : '';
      return [style('dim', `  step ${step} · ${modelName(provider, model)}${what}`)];
    }
    case 'model.failed':
      return [
        `  ${style('red', '✗')} ${modelName(event.data.provider, event.data.model)}: ${told === event.data.error.message ? 'the same again' : `${event.data.error.code}, ${brief(event.data.error.message, 160)}`}`,
      ];
    case 'route.fallback': {
      const { from, to, error } = event.data;
      return [
        `  ${style('yellow', '↷')} fallback: ${modelName(from.provider, from.model)} → ${modelName(to.provider, to.model)} (${error.code})`,
      ];
    }
    case 'context.learned': {
      const { provider, model, contextTokens, reason } = event.data;
      const how = reason === 'cut' ? 'read less than it was sent: it ' : '';
      return [`  ${style('yellow', '↻')} ${modelName(provider, model)} ${how}takes about ${contextTokens} tokens`];
    }
    case 'answer.refused':
      return [`  ${style('yellow', '↻')} asked again: ${brief(event.data.message, 160)}`];
    case 'tool.started':
      return [
        `  ${style('cyan', '→')} ${event.data.name} ${style('dim', event.data.resumes === undefined ? brief(event.data.input) : 'goes on')}`,
        ...(event.data.awaits === undefined
          ? []
          : [style('dim', `    its client has until ${event.data.until}: nexus runs give ${event.runId} ${event.data.callId} <output>`)]),
      ];
    case 'tool.suspended':
      return [style('dim', `  ‖ ${event.data.name} waits for the calls that it made`)];
    case 'tool.completed':
      return [describeTool(event.data, style)];
    case 'approval.requested': {
      const { approvalId, kind, toolName, input, question, deadlineAt, defaultDecision, role } = event.data;
      const what =
        kind === 'question'
          ? `question: ${brief(question ?? '', 500)}`
          : `${kind === 'unknown_outcome' ? 'did it take effect? ' : 'approval needed: '}${toolName} ${wholeOr(input, 500, approvalId)}`;
      const by = role === undefined ? '' : ` · by a ${role}`;
      return [
        `  ${style(['yellow', 'bold'], '?')} ${style('bold', what)}`,
        style('dim', `    ${approvalId} · until ${deadlineAt}, then ${defaultDecision}${by}`),
      ];
    }
    case 'approval.decided': {
      const { decision, decidedBy, note } = event.data;
      const good = decision === 'approve' || decision === 'done' || decision === 'answer' || decision === 'retry';
      return [
        `  ${good ? style('green', '✓') : style('red', '✗')} ${decision} by ${brief(decidedBy)}${note === undefined ? '' : `: ${brief(note)}`}`,
      ];
    }
    case 'budget.refused': {
      const { scope, unit, asked, available, reserved = 0, limit, window } = event.data.refusal;
      const of = `${amount(unit, limit)}${window === 'total' ? '' : ` this ${window}`}`;
      // What others hold is not gone: it may be tried again.
      const left =
        asked <= available + reserved
          ? `other calls hold ${amount(unit, reserved)} of ${of} at the moment, ${amount(unit, available)} free`
          : `has ${amount(unit, available)} of ${of} left`;
      return [`  ${style(['red', 'bold'], '$')} budget refused: ${scope.kind} ${brief(scope.id)} ${left}, ${amount(unit, asked)} asked`];
    }
    case 'policy.denied': {
      const { action, resource, reasons, errors } = event.data.decision;
      const why = [...reasons, ...(errors ?? [])].join(', ');
      return [`  ${style('red', '⊘')} policy denied ${action} on ${brief(resource)}${why === '' ? '' : ` (${brief(why, 200)})`}`];
    }
    case 'step.restarted':
      return [`  ${style('yellow', '↻')} ${event.data.kind} call of step ${event.data.step} starts again: ${brief(event.data.reason)}`];
    case 'run.waiting':
      return [
        style(
          'dim',
          `  … waiting for ${event.data.reason === 'approval' ? 'a person' : event.data.reason === 'child' ? 'a sub-agent' : event.data.reason === 'client' ? 'the program that started it' : `${event.data.until}`}`,
        ),
      ];
    case 'run.resumed':
      return [style('dim', `  ▸ goes on (${event.data.reason})`)];
    case 'run.completed':
      return [`${style('green', '✓')} completed · ${totalsText(event.data.totals)}`];
    case 'run.failed': {
      const { error, totals, resumable } = event.data;
      const lines = [`${style('red', '✗')} failed: ${error.code}, ${brief(error.message, 300)} · ${totalsText(totals)}`];
      if (resumable) lines.push(style('dim', `  it can go on: nexus runs resume ${event.runId}`));
      return lines;
    }
    case 'run.cancelled':
      return [`${style('yellow', '■')} cancelled: ${brief(event.data.reason)} · ${totalsText(event.data.totals)}`];
    default:
      return [];
  }
}

/** Who decides must know that there is more. */
function wholeOr(input: unknown, limit: number, approvalId: string): string {
  const rest = (JSON.stringify(input) ?? '').length - limit;
  return `${brief(input, limit)}${rest > 0 ? ` (${rest} more characters: nexus approvals show ${approvalId})` : ''}`;
}

function describeTool(data: Extract<WireEvent, { type: 'tool.completed' }>['data'], style: Style): string {
  const took = data.durationMs === undefined ? '' : style('dim', ` ${duration(data.durationMs)}`);
  switch (data.status) {
    case 'ok':
      return `  ${style('green', '✓')} ${data.name}${took}`;
    case 'error':
      return `  ${style('red', '✗')} ${data.name}: ${brief(data.error?.message ?? data.output, 160)}${took}`;
    case 'denied':
      return `  ${style('red', '⊘')} ${data.name} denied: ${brief(data.error?.message ?? data.output, 160)}`;
    case 'cancelled':
      return `  ${style('yellow', '■')} ${data.name} cancelled`;
  }
}

/** The simulator must never pass for a real model. */
function modelName(provider: string, model: string): string {
  return `${provider}/${model}${/^sim(-|$)/.test(provider) ? ' (simulator)' : ''}`;
}

export function amount(unit: string, value: number): string {
  if (unit === 'costMicroUsd') return usd(value);
  if (unit === 'wallMs') return duration(value);
  return `${value} ${unit === 'toolCalls' ? 'tool calls' : unit}`;
}

export function totalsText(totals: RunTotals): string {
  return [
    count(totals.modelCalls, 'model call'),
    count(totals.toolCalls, 'tool call'),
    `${totals.inputTokens + totals.outputTokens} tokens`,
    usd(totals.costMicroUsd),
  ].join(' · ');
}
