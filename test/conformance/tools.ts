import { afterEach, describe, expect, it } from 'vitest';
import { NexusError, systemTimers } from '../../packages/server/src/core/index.ts';
import type { Tool, ToolContext, ToolRegistry, ToolResult } from '../../packages/server/src/tools/index.ts';

export interface ToolRegistrySubject {
  /** A registry that serves exactly these tools, with outputs of at most `maxOutputChars` and `graceMs` to stop. */
  create(options: { tools: readonly Tool[]; maxOutputChars: number; graceMs: number }): Promise<ToolRegistry>;
}

/** What every {@link ToolRegistry} must do, wherever its tools run. */
export function describeToolRegistry(name: string, subject: ToolRegistrySubject): void {
  describe(`tool registry: ${name}`, () => {
    const open: ToolRegistry[] = [];
    afterEach(async () => {
      await Promise.all(open.splice(0).map((registry) => registry.close()));
    });

    const create = async (...tools: Tool[]) => {
      const registry = await subject.create({ tools, maxOutputChars: 500, graceMs: 40 });
      open.push(registry);
      return registry;
    };
    const run = async (
      definition: Partial<Tool>,
      options: { timeoutMs?: number; signal?: AbortSignal; input?: Record<string, unknown> } = {},
    ) => {
      const registry = await create(makeTool(definition));
      const tool = registry.get('probe');
      if (tool === undefined) throw new Error('the registry lost the tool');
      const context = makeContext(options.signal === undefined ? {} : { signal: options.signal });
      return registry.execute(tool, options.input ?? {}, context, { timeoutMs: options.timeoutMs ?? 5_000 });
    };

    it('lists tools in registration order and finds them by name', async () => {
      const registry = await create(makeTool({ name: 'b' }), makeTool({ name: 'a' }));
      expect(registry.list().map((tool) => tool.name)).toEqual(['b', 'a']);
      expect(registry.get('a')?.name).toBe('a');
      expect(registry.get('toString')).toBeUndefined();
    });

    it('selects by patterns, each tool once, in registration order', async () => {
      const registry = await create(...['fs_read', 'http_fetch', 'fs_list'].map((toolName) => makeTool({ name: toolName })));
      const select = (...patterns: string[]) => registry.select(patterns).map((tool) => tool.name);
      expect(select('fs_list', 'fs_*')).toEqual(['fs_read', 'fs_list']);
      expect(select('*')).toEqual(['fs_read', 'http_fetch', 'fs_list']);
      expect(select('fs')).toEqual([]);
      expect(select('fs.*', '(', '')).toEqual([]);
    });

    it('names the path, what was there and what is expected of arguments that do not fit', async () => {
      const registry = await create(
        makeTool({
          inputSchema: {
            type: 'object',
            properties: { path: { type: 'string' }, lines: { type: 'array', items: { type: 'integer' } }, mode: { enum: ['a', 'b'] } },
            required: ['path'],
            additionalProperties: false,
          },
        }),
      );
      const tool = registry.get('probe');
      if (tool === undefined) throw new Error('the registry lost the tool');
      const validate = (input: unknown) => {
        const checked = registry.validate(tool, input);
        return checked.type === 'ok' ? 'ok' : `${checked.error.code}: ${checked.error.message}`;
      };
      expect(validate({ path: 'a', lines: [1] })).toBe('ok');
      expect(validate({})).toMatch(/tool_input_invalid: .*"path".*required.*nothing/);
      expect(validate({ path: 7 })).toMatch(/"path" expected string, found number 7/);
      expect(validate({ path: 'a', lines: [1, 'two'] })).toMatch(/"lines\[1\]" expected integer, found string "two"/);
      expect(validate({ path: 'a', mode: 'c' })).toMatch(/"mode" expected one of \["a","b"\], found string "c"/);
      expect(validate({ path: 'a', file: 1 })).toMatch(/"file" expected no such property; known are path, lines, mode/);
      expect(validate('text')).toMatch(/expected object, found string "text"/);
      expect(validate([])).toMatch(/expected object, found array/);
      expect(validate(null)).toMatch(/expected object/);
      expect(validate({ path: 7, lines: 'x'.repeat(100_000) }).length).toBeLessThan(1_000);
    });

    it('does not run a tool whose arguments do not fit', async () => {
      let ran = false;
      const result = await run(
        {
          inputSchema: { type: 'object', required: ['x'] },
          execute: async () => {
            ran = true;
            return { type: 'ok', output: '' };
          },
        },
        { input: {} },
      );
      expect(result).toMatchObject({ type: 'error', error: { code: 'tool_input_invalid' } });
      expect(ran).toBe(false);
    });

    it('gives text as it is and other values as JSON', async () => {
      expect(await run({ execute: async () => ({ type: 'ok', output: 'plain' }) })).toMatchObject({
        type: 'ok',
        output: 'plain',
        costMicroUsd: 0,
      });
      expect(await run({ execute: async () => ({ type: 'ok', output: { a: [1] }, costMicroUsd: 12 }) })).toMatchObject({
        output: '{"a":[1]}',
        costMicroUsd: 12,
      });
    });

    it('cuts a long output and says so inside the limit', async () => {
      const result = await run({ execute: async () => ({ type: 'ok', output: '😀'.repeat(5_000) }) });
      if (result.type !== 'ok') throw new Error('expected an output');
      expect(result.output.length).toBeLessThanOrEqual(500);
      expect(result.output).toMatch(/output cut: the first \d+ of 10000 characters/);
      expect(result.output.isWellFormed()).toBe(true);
    });

    it('passes on a failure that the tool reports', async () => {
      const error = { code: 'not_found', message: 'no such file; fs_list shows what there is', retryable: false } as const;
      expect(await run({ execute: async () => ({ type: 'error', error }) })).toMatchObject({ type: 'error', error });
    });

    it('never throws, and tells nothing of an unexpected error but that the tool failed', async () => {
      const secret = new Error('ENOENT: /home/secret/key.pem');
      for (const execute of [
        async () => Promise.reject(secret),
        () => {
          throw secret;
        },
        async () => Promise.reject(undefined),
        async () => undefined as unknown as ToolResult, // a plugin without types can do this
        async () => ({ type: 'ok', output: 1n }) as ToolResult,
      ]) {
        const result = await run({ execute });
        expect(result).toMatchObject({ type: 'error', error: { code: 'tool_failed' } });
        expect(JSON.stringify(result)).not.toMatch(/secret|\.ts|at /);
      }
    });

    it('keeps the code and message of a known error', async () => {
      const result = await run({ execute: async () => Promise.reject(new NexusError('path_not_allowed', 'the path is a link')) });
      expect(result).toMatchObject({ type: 'error', error: { code: 'path_not_allowed', message: 'the path is a link' } });
    });

    it('refuses an output that does not fit the output schema', async () => {
      const outputSchema = { type: 'object', required: ['total'] };
      expect(await run({ outputSchema, execute: async () => ({ type: 'ok', output: {} }) })).toMatchObject({
        type: 'error',
        error: { code: 'tool_failed', message: expect.stringContaining('total') },
      });
      expect(await run({ outputSchema, execute: async () => ({ type: 'ok', output: { total: 1 } }) })).toMatchObject({ type: 'ok' });
    });

    it('stops a tool at its time limit', async () => {
      const result = await run(
        { execute: (_input, { signal }) => systemTimers.sleep(60_000, signal).then(() => ({ type: 'ok', output: '' })) },
        { timeoutMs: 20 },
      );
      expect(result).toMatchObject({ type: 'error', error: { code: 'tool_timeout' } });
    });

    it('stops a tool when the caller cancels', async () => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 10);
      const execute: Tool['execute'] = (_input, { signal }) => systemTimers.sleep(60_000, signal).then(() => ({ type: 'ok', output: '' }));
      expect(await run({ execute }, { signal: controller.signal })).toMatchObject({ type: 'error', error: { code: 'cancelled' } });
      expect(await run({ execute }, { signal: AbortSignal.abort() })).toMatchObject({ type: 'error', error: { code: 'cancelled' } });
    });

    it('gives up a tool that ignores its signal, and drops what it does later', async () => {
      let release: (result: ToolResult) => void = () => undefined;
      const late = new Promise<ToolResult>((resolve) => {
        release = resolve;
      });
      const result = await run({ execute: () => late }, { timeoutMs: 20 });
      expect(result).toMatchObject({ type: 'error', error: { code: 'tool_timeout' } });
      release({ type: 'ok', output: 'late' });
    });

    it('keeps an answer that comes within the grace after the signal', async () => {
      const execute: Tool['execute'] = async (_input, { signal }) => {
        await systemTimers.sleep(60_000, signal).catch(() => undefined);
        return { type: 'ok', output: 'it was done' };
      };
      expect(await run({ effects: 'once', execute }, { timeoutMs: 20 })).toMatchObject({ type: 'ok', output: 'it was done' });
    });

    it('says that the outcome is unknown when a tool with effects once gives no answer in time', async () => {
      expect(await run({ effects: 'once', execute: () => new Promise(() => undefined) }, { timeoutMs: 20 })).toMatchObject({
        type: 'error',
        error: { code: 'tool_outcome_unknown' },
      });
    });

    it('hands progress through in bounds, and none after the end', async () => {
      const heard: string[] = [];
      let say: (text: string) => void = () => undefined;
      const registry = await create(
        makeTool({
          execute: async (_input, { onOutput }) => {
            say = onOutput;
            onOutput('working');
            return { type: 'ok', output: '' };
          },
        }),
      );
      const tool = registry.get('probe');
      if (tool === undefined) throw new Error('the registry lost the tool');
      await registry.execute(tool, {}, makeContext({ onOutput: (text) => heard.push(text) }), { timeoutMs: 1_000 });
      say('too late');
      expect(heard).toEqual(['working']);
    });

    it('stops what runs when it is closed and runs nothing after', async () => {
      const registry = await create(
        makeTool({ execute: (_input, { signal }) => systemTimers.sleep(60_000, signal).then(() => ({ type: 'ok', output: '' })) }),
      );
      const tool = registry.get('probe');
      if (tool === undefined) throw new Error('the registry lost the tool');
      const running = registry.execute(tool, {}, makeContext(), { timeoutMs: 60_000 });
      await registry.close();
      expect(await running).toMatchObject({ type: 'error', error: { code: 'cancelled' } });
      expect(await registry.execute(tool, {}, makeContext(), { timeoutMs: 1_000 })).toMatchObject({ error: { code: 'unavailable' } });
    });
  });
}

function makeTool(definition: Partial<Tool>): Tool {
  return {
    name: 'probe',
    description: 'for tests',
    inputSchema: { type: 'object' },
    effects: 'none',
    permissions: [],
    timeoutMs: 5_000,
    execute: async () => ({ type: 'ok', output: '' }),
    ...definition,
  };
}

function makeContext(changes: Partial<ToolContext> = {}): ToolContext {
  return {
    tenantId: 'ten_1',
    sessionId: 'ses_1',
    runId: 'run_1',
    callId: 'call_1',
    attempt: 1,
    idempotencyKey: 'run_1/call_1',
    workspace: '/nonexistent',
    signal: new AbortController().signal,
    authorize: async () => ({ allowed: true }),
    onOutput: () => undefined,
    ...changes,
  };
}
