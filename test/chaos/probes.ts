import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EffectsClass } from '@nexus-agent/protocol';
import type { Tool } from '../../packages/server/src/tools/index.ts';

/** An effect that a probe tool had on the outside world. */
export interface Effect {
  readonly probe: string;
  readonly callId: string;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly pid: number;
  readonly input: Record<string, unknown>;
}

/** Every effect there was, in order. A line is written whole or not at all. */
export function readEffects(ledgerFile: string): Effect[] {
  if (!existsSync(ledgerFile)) return [];
  const parse = (line: string): Effect => JSON.parse(line);
  return readFileSync(ledgerFile, 'utf8').split('\n').filter(Boolean).map(parse);
}

interface ProbeOptions {
  readonly ledgerFile: string;
  readonly barrierDir: string;
  readonly reach: (runId: string, point: string) => Promise<void>;
}

/**
 * `folder_put` (idempotent) and `folder_pay` (once) work in the folder of the session: they append to one file and make another.
 * Points: `tool:<name>:entered`, `tool:<name>:written`.
 */
export function folderTools({ reach }: Pick<ProbeOptions, 'reach'>): Tool[] {
  return (['idempotent', 'once'] as const).map((effects) => ({
    name: effects === 'once' ? 'folder_pay' : 'folder_put',
    description: 'Writes files of the session.',
    inputSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'], additionalProperties: false },
    effects,
    permissions: ['fs.read', 'fs.write'],
    timeoutMs: 60_000,
    async execute({ name }, { runId, workspace }) {
      await reach(runId, `tool:${name}:entered`);
      appendFileSync(join(workspace, 'log.txt'), `${name}\n`);
      writeFileSync(join(workspace, `${name}.txt`), String(name));
      await reach(runId, `tool:${name}:written`);
      return { type: 'ok', output: `${name} filed` };
    },
  }));
}

/** `probe_read` (effects none), `probe_put` (idempotent) and `probe_pay` (once). */
export function probeTools(options: ProbeOptions): Tool[] {
  const kinds = { probe_read: 'none', probe_put: 'idempotent', probe_pay: 'once' } as const;
  return Object.entries(kinds).map(([name, effects]) => probeTool(name, effects, options));
}

function probeTool(name: string, effects: EffectsClass, { ledgerFile, barrierDir, reach }: ProbeOptions): Tool {
  return {
    name,
    description: 'Leaves a mark outside of the database.',
    inputSchema: {
      type: 'object',
      properties: {
        name: { type: 'string' },
        amount: { type: 'integer' },
        waitMs: { type: 'integer', description: 'How long it takes before its effect' },
        holdMs: { type: 'integer', description: 'How long it keeps the thread before its effect' },
        barrier: { type: 'string', description: 'After its effect it waits for this file' },
      },
      required: ['name'],
      additionalProperties: false,
    },
    effects,
    permissions: ['probe'],
    timeoutMs: 60_000,
    maxCostMicroUsd: 50,
    async execute(input, { runId, callId, attempt, idempotencyKey, signal }) {
      const probe = String(input.name);
      await reach(runId, `tool:${probe}:entered`);
      for (const until = performance.now() + Number(input.holdMs ?? 0); performance.now() < until; );
      if (typeof input.waitMs === 'number') await sleep(input.waitMs, undefined, { signal });
      append(ledgerFile, { probe, callId, attempt, idempotencyKey, pid: process.pid, input });
      await reach(runId, `tool:${probe}:effected`);
      const barrier = typeof input.barrier === 'string' ? join(barrierDir, input.barrier) : undefined;
      while (barrier !== undefined && !existsSync(barrier)) await sleep(10, undefined, { signal });
      return { type: 'ok', output: `${probe} done`, costMicroUsd: 7 };
    },
  };
}

function append(ledgerFile: string, effect: Effect): void {
  const file = openSync(ledgerFile, 'a');
  try {
    writeSync(file, `${JSON.stringify(effect)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
