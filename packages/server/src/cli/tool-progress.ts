import type { WireEvent } from '@nexus-agent/protocol';

/** Lines of one call that are shown: what prints more is told by its result. */
const maxLines = 100;
const maxLineChars = 400;

/** What tools print while they run, as whole lines; each event gives those that it completes. */
export function createToolProgress(): (event: WireEvent) => string[] {
  const calls = new Map<string, { rest: string; shown: number }>();
  return (event) => {
    if (event.type === 'tool.output') {
      const call = calls.get(event.data.callId) ?? { rest: '', shown: 0 };
      calls.set(event.data.callId, call);
      const lines = `${call.rest}${event.data.text}`.split('\n');
      call.rest = (lines.pop() ?? '').slice(-maxLineChars);
      return show(lines, call);
    }
    if (event.type !== 'tool.completed') return [];
    const call = calls.get(event.data.callId);
    calls.delete(event.data.callId);
    return call === undefined ? [] : show([call.rest], call);
  };
}

function show(lines: readonly string[], call: { shown: number }): string[] {
  const said = lines.filter((line) => line.trim() !== '');
  const left = maxLines - call.shown;
  call.shown += said.length;
  const shown = said.slice(0, Math.max(0, left)).map((line) => `    ┊ ${line.slice(0, maxLineChars)}`);
  return left >= 0 && said.length > left ? [...shown, '    ┊ … it prints more'] : shown;
}
