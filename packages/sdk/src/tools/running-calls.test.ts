import type { WorkerReport } from '@nexus-agent/protocol';
import { describe, expect, it, vi } from 'vitest';
import { defineTool } from './define-tool.ts';
import { type GivenCall, RunningCalls } from './running-calls.ts';

function start() {
  const begun: { finish: (output: string) => void; signal: AbortSignal }[] = [];
  const reports: WorkerReport[] = [];
  const tool = defineTool({
    ...{ name: 'held', description: 'for tests', input: { type: 'object' }, effects: 'idempotent' as const },
    execute: (_input, { signal }) => new Promise((finish) => begun.push({ finish, signal })),
  });
  const calls = new RunningCalls({
    ...{ tools: new Map([['held', tool]]), report: (report: WorkerReport) => reports.push(report), onError: () => undefined },
  });
  const given = (delivery: number): GivenCall => ({
    ...{ type: 'call', callId: 'c1', delivery, tool: 'held', input: {}, runId: 'r', sessionId: 's', timeoutMs: 60_000 },
  });
  return { calls, begun, reports, give: (delivery: number) => calls.take(given(delivery)) };
}

describe('a call that was given again to the worker that holds it', () => {
  it('goes on when the server says only then that the delivery before is over [verifies workers.elsewhere]', async () => {
    const { calls, begun, reports, give } = start();
    give(1);
    give(2);
    calls.stop('c1', 1, 'lost'); // the answer to a report that was sent before
    expect(calls.held).toEqual([{ callId: 'c1', delivery: 2 }]);
    begun[0]?.finish('in the end');
    await vi.waitFor(() => expect(reports).toEqual([{ type: 'completed', callId: 'c1', delivery: 2, output: 'in the end' }]));
    expect(begun).toHaveLength(1);
  });

  it('is stopped when that delivery is over too, and begins anew when it comes again [verifies workers.elsewhere]', async () => {
    const { calls, begun, reports, give } = start();
    give(1);
    calls.stop('c1', 1, 'lost');
    await vi.waitFor(() => expect(reports).toMatchObject([{ type: 'stopped', delivery: 1 }]));
    give(2);
    calls.stop('c1', 1, 'lost'); // said twice: of what was reported before it stopped, and of the stop
    begun[1]?.finish('done');
    await vi.waitFor(() => expect(reports[1]).toMatchObject({ type: 'completed', delivery: 2 }));
    expect(begun.map(({ signal }) => signal.aborted)).toEqual([true, false]);
  });
});
