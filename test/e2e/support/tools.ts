import type { Tool, ToolContext } from '../../../packages/server/src/tools/index.ts';
import { pause } from './server.ts';

/** What the test tools of a server saw. */
export interface Probe {
  readonly tools: readonly Tool[];
  /** Calls in the order in which they began. */
  readonly calls: { name: string; input: Record<string, unknown>; context: ToolContext; startedAt: number }[];
  running: number;
  mostRunning: number;
  /** Call ids whose signal fired while they ran. */
  readonly stopped: string[];
}

/**
 * `probe` takes `waitMs` (until its signal fires) and gives its `label`; `broken` fails; `costly` costs 500 of at most
 * 2,000 micro-USD; `send` has an effect that must not be repeated.
 */
export function createProbe(): Probe {
  const probe = { calls: [] as Probe['calls'], running: 0, mostRunning: 0, stopped: [] as string[] };

  function tool(
    name: string,
    extra: Partial<Tool>,
    work: (input: Record<string, unknown>, context: ToolContext) => Promise<unknown>,
  ): Tool {
    return {
      name,
      description: `Test tool ${name}`,
      inputSchema: {
        type: 'object',
        properties: { label: { type: 'string' }, waitMs: { type: 'integer', minimum: 0 } },
        additionalProperties: false,
      },
      effects: 'none',
      permissions: [],
      timeoutMs: 10_000,
      ...extra,
      async execute(input, context) {
        probe.calls.push({ name, input, context, startedAt: Date.now() });
        probe.running += 1;
        probe.mostRunning = Math.max(probe.mostRunning, probe.running);
        try {
          return { type: 'ok', output: await work(input, context), ...(name === 'costly' ? { costMicroUsd: 500 } : {}) };
        } finally {
          probe.running -= 1;
        }
      },
    };
  }

  const wait = async (input: Record<string, unknown>, context: ToolContext) => {
    const waitMs = Number(input.waitMs ?? 0);
    if (waitMs > 0) {
      const stopped = new Promise<void>((resolve) => {
        context.signal.addEventListener('abort', () => {
          probe.stopped.push(context.callId);
          resolve();
        });
      });
      await Promise.race([pause(waitMs), stopped]);
    }
    return String(input.label ?? 'ok');
  };

  return Object.assign(probe, {
    tools: [
      tool('probe', {}, wait),
      tool('broken', {}, async () => {
        throw new Error('the disk is on fire');
      }),
      tool('flood', {}, async () => 'number 1234567, '.repeat(5_000)),
      tool('costly', { maxCostMicroUsd: 2_000 }, wait),
      tool('send', { effects: 'once', timeoutMs: 150 }, async (input, context) => {
        const said = await wait(input, context);
        context.signal.throwIfAborted();
        return said;
      }),
    ],
  });
}
