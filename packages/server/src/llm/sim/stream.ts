import type { ServerResponse } from 'node:http';
import type { Rendered } from '#llm/dialects';
import type { Knobs } from './knobs.ts';

type Fault = 'cut' | 'die' | 'stall' | 'malformed' | 'inband' | 'flood';
const faults: readonly Fault[] = ['cut', 'die', 'stall', 'malformed', 'inband', 'flood'];

/** Sends an answer as a stream at the knobs' pace, and breaks it where they say. `rendered.error` is the event for a failure in the middle; `onFault` is told before a fault of ours ends the response, `onChunks` how many chunks of content are on their way. */
export function sendStream(
  response: ServerResponse,
  rendered: Rendered & { readonly error: string },
  knobs: Knobs,
  { onFault, onChunks }: { readonly onFault: () => void; readonly onChunks: (count: number) => void },
): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' });
  const fault = faults
    .filter((name) => knobs[name] !== null)
    .map((name) => ({ name, after: knobs[name] ?? 0 }))
    .sort((a, b) => a.after - b.after)[0];
  const chunks = fault === undefined ? rendered.chunks : rendered.chunks.slice(0, fault.after);

  const finish = () => {
    switch (fault?.name) {
      case undefined:
        response.end(rendered.close);
        return;
      case 'cut':
        onFault();
        response.end();
        return;
      case 'die':
        onFault();
        // Not a reset: that could overtake what was written.
        response.socket?.destroy();
        return;
      case 'stall':
        return;
      case 'malformed':
        onFault();
        response.end(`data: {"choices":[{"delta":{"content":"bro\n\n${rendered.close}`);
        return;
      case 'inband':
        onFault();
        response.end(rendered.error);
        return;
      case 'flood': {
        const flood = () => {
          while (!response.destroyed && response.write('x'.repeat(65_536)));
        };
        response.on('drain', flood);
        response.write('data: ');
        flood();
        return;
      }
      default:
        fault?.name satisfies undefined;
    }
  };

  if (knobs.tokensPerSecond <= 0) {
    const text = rendered.open + chunks.join('');
    onChunks(chunks.length);
    if (fault === undefined) response.end(text + rendered.close);
    else response.write(text, finish);
    return;
  }
  response.write(rendered.open);
  const startedMs = performance.now();
  let sent = 0;
  let timer: NodeJS.Timeout | undefined;
  response.once('close', () => clearTimeout(timer));
  const tick = () => {
    if (response.destroyed) return;
    const due = Math.min(chunks.length, Math.floor(((performance.now() - startedMs) / 1000) * knobs.tokensPerSecond) + 1);
    if (due > sent) {
      onChunks(due - sent);
      response.write(chunks.slice(sent, due).join(''));
    }
    sent = Math.max(sent, due);
    if (sent >= chunks.length) return finish();
    const nextMs = startedMs + (sent / knobs.tokensPerSecond) * 1000;
    timer = setTimeout(tick, Math.max(1, nextMs - performance.now()));
  };
  tick();
}
