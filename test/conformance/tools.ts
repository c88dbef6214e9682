import { afterEach, describe, expect, it } from 'vitest';
import { NexusError, systemTimers } from '../../packages/server/src/core/index.ts';
import type {
  AuthorizationVerdict,
  CallFolders,
  Tool,
  ToolCall,
  ToolPart,
  ToolResult,
  ToolService,
} from '../../packages/server/src/tools/index.ts';
import { makeTool, makeToolCall, plainFolders, type Reader, readCall } from '../../packages/server/src/tools/testing/index.ts';

export interface ToolServiceSubject {
  /**
   * A service that offers exactly these tools to every tenant, with outputs of at most `maxOutputChars`, progress of at most
   * `maxProgressChars` and `graceMs` to stop.
   */
  create(options: {
    readonly tools: readonly Tool[];
    readonly maxOutputChars: number;
    readonly maxProgressChars: number;
    readonly graceMs: number;
    readonly folders: CallFolders;
  }): Promise<ToolService>;
}

const never = (): Promise<ToolResult> => new Promise(() => undefined);
/** Works until it is told to stop, and then fails as Node's own functions do. */
const untilStopped: Tool['execute'] = (_input, { signal }) => systemTimers.sleep(60_000, signal).then(() => ({ type: 'ok', output: '' }));

/** What every {@link ToolService} must do, wherever its tools run. */
export function describeToolService(name: string, subject: ToolServiceSubject): void {
  describe(`tool service: ${name}`, () => {
    const open: ToolService[] = [];
    afterEach(async () => {
      await Promise.all(open.splice(0).map((service) => service.close()));
    });

    const create = async (...tools: Tool[]) => {
      const folders = plainFolders(async (tenantId, sessionId) => {
        if (sessionId === 'ses_broken') throw new Error('EACCES: /srv/secret');
        return `/files/${tenantId}/${sessionId}`;
      });
      const service = await subject.create({ tools, maxOutputChars: 500, maxProgressChars: 1_000, graceMs: 40, folders });
      open.push(service);
      return service;
    };
    const run = async (definition: Partial<Tool>, call: Partial<ToolCall> = {}, reader: Reader = {}) =>
      readCall(await create(makeTool(definition)), makeToolCall({ timeoutMs: 5_000, ...call }), reader);

    it('lists descriptors, which are plain data, in a stable order', async () => {
      const service = await create(makeTool({ name: 'b', maxCostMicroUsd: 5, kind: 'question' }), makeTool({ name: 'a' }));
      const tools = await service.list('ten_1');
      expect(tools.map((tool) => tool.name)).toEqual(['b', 'a']);
      expect(JSON.parse(JSON.stringify(tools))).toEqual(tools);
      expect(await service.list('ten_1')).toEqual(tools);
      expect(tools[0]).toMatchObject({
        description: 'for tests',
        effects: 'none',
        permissions: [],
        timeoutMs: 5_000,
        maxCostMicroUsd: 5,
        kind: 'question',
      });
    });

    it('gives equal tools equal versions, and another version to what differs in anything', async () => {
      const versionOf = async (definition: Partial<Tool>) => (await (await create(makeTool(definition))).list('ten_1'))[0]?.version;
      const version = await versionOf({});
      expect(await versionOf({ execute: never })).toBe(version);
      const changes: Partial<Tool>[] = [
        { description: 'other' },
        { inputSchema: { type: 'object', required: ['a'] } },
        { outputSchema: {} },
        { effects: 'once' },
        { permissions: ['net.egress'] },
        { timeoutMs: 1 },
        { maxCostMicroUsd: 1 },
        { kind: 'question' },
      ];
      const versions = await Promise.all(changes.map(versionOf));
      expect(new Set([version, ...versions]).size).toBe(changes.length + 1);
    });

    it('fails a call of a tool that is not there, or not in that version', async () => {
      const service = await create(makeTool());
      const version = (await service.list('ten_1'))[0]?.version ?? '';
      expect(await readCall(service, makeToolCall({ toolVersion: version }))).toMatchObject({ type: 'completed' });
      expect(await readCall(service, makeToolCall({ toolVersion: 'another' }))).toMatchObject({
        type: 'failed',
        error: { code: 'conflict' },
      });
      for (const toolName of ['nope', 'toString', '__proto__'])
        expect(await readCall(service, makeToolCall({ toolName }))).toMatchObject({ type: 'failed', error: { code: 'tool_not_found' } });
    });

    it('runs a tool that nobody listed before', async () => {
      expect(await run({}, { tenantId: 'ten_new' })).toMatchObject({ type: 'completed' });
    });

    it('tells the tool whose call it is', async () => {
      let seen: unknown;
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const call = makeToolCall({ traceparent, attempt: 3 });
      await run(
        {
          execute: async (
            _input,
            { signal: _signal, authorize: _authorize, onOutput: _onOutput, onWait: _onWait, files: _files, ...context },
          ) => {
            seen = context;
            return { type: 'ok', output: '' };
          },
        },
        call,
      );
      const { toolName: _name, input: _input, timeoutMs: _timeoutMs, ...about } = call;
      expect(seen).toEqual({ ...about, workspace: '' });
    });

    it('gives the folder of the session to tools that declare that they need files, and to no other', async () => {
      const execute: Tool['execute'] = async (_input, { workspace }) => ({ type: 'ok', output: workspace });
      for (const permission of ['fs.read', 'fs.write', 'code.run'])
        expect(await run({ permissions: ['human', permission], execute })).toMatchObject({ output: '/files/ten_1/ses_1' });
      expect(await run({ permissions: ['net.egress'], execute })).toMatchObject({ output: '' });
      const broken = await run({ permissions: ['fs.read'], execute }, { sessionId: 'ses_broken' });
      expect(broken).toMatchObject({ type: 'failed', error: { code: 'tool_failed' } });
      expect(JSON.stringify(broken)).not.toContain('/srv');
    });

    it('does not run a tool whose arguments do not fit', async () => {
      let ran = false;
      const definition: Partial<Tool> = {
        inputSchema: { type: 'object', required: ['x'] },
        execute: async () => {
          ran = true;
          return { type: 'ok', output: '' };
        },
      };
      for (const input of [{}, 'text', null, [], undefined]) {
        const end = await run(definition, { input });
        expect(end).toMatchObject({ type: 'failed', error: { code: 'tool_input_invalid' } });
      }
      expect(ran).toBe(false);
    });

    it('refuses a tool whose schema is broken before anything is called', async () => {
      await expect(run({ inputSchema: { type: 'nonsense' } })).rejects.toMatchObject({ code: 'config_invalid' });
    });

    it('gives text as it is and other values as JSON', async () => {
      expect(await run({ execute: async () => ({ type: 'ok', output: 'plain' }) })).toMatchObject({
        type: 'completed',
        output: 'plain',
        costMicroUsd: 0,
      });
      expect(await run({ execute: async () => ({ type: 'ok', output: { a: [1] }, costMicroUsd: 12 }) })).toMatchObject({
        output: '{"a":[1]}',
        costMicroUsd: 12,
      });
    });

    it('gives no half characters, neither in outputs nor in errors', async () => {
      const half = 'half \ud83d of one';
      const ends = [
        await run({ execute: async () => ({ type: 'ok', output: half }) }),
        await run({ execute: async () => ({ type: 'error', error: { code: 'not_found', message: half } }) }),
        await run({ execute: () => Promise.reject(new NexusError('not_found', half)) }),
      ];
      for (const end of ends) {
        const said = end.type === 'completed' ? end.output : end.type === 'failed' ? end.error.message : '';
        expect(said).toBe('half \ufffd of one');
      }
    });

    it('cuts a long output and says so inside the limit', async () => {
      const result = await run({ execute: async () => ({ type: 'ok', output: '😀'.repeat(5_000) }) });
      if (result.type !== 'completed') throw new Error('expected an output');
      expect(result.output.length).toBeLessThanOrEqual(500);
      expect(result.output).toMatch(/output cut: the first \d+ of 10000 characters/);
      expect(result.output.isWellFormed()).toBe(true);
    });

    it('bounds an error with its details like an output, whether it was reported or thrown', async () => {
      const message = 'x'.repeat(5_000);
      const ends = [
        await run({ execute: async () => ({ type: 'error', error: { code: 'not_found', message } }) }),
        await run({ execute: () => Promise.reject(new NexusError('not_found', message, { details: { a: 1 } })) }),
        await run({ execute: () => Promise.reject(new NexusError('not_found', 'short', { details: { a: message } })) }),
        await run({ execute: () => Promise.reject(new NexusError('not_found', 'short', { details: { a: 1n } })) }),
      ];
      for (const end of ends) {
        if (end.type !== 'failed') throw new Error('expected an error');
        expect(end.error.code).toBe('not_found');
        expect(end.error.message.length + JSON.stringify(end.error.details ?? '').length).toBeLessThan(510);
      }
    });

    it('passes on a failure that the tool reports', async () => {
      const error = { code: 'not_found', message: 'no such file; fs_list shows what there is', retryable: false } as const;
      expect(await run({ execute: async () => ({ type: 'error', error }) })).toMatchObject({ type: 'failed', error });
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
        async () => ({ type: 'error' }) as ToolResult,
        async () => ({ type: 'error', error: { code: 'of_its_own', message: 'secret' } }) as unknown as ToolResult,
      ]) {
        const result = await run({ execute });
        expect(result).toMatchObject({ type: 'failed', error: { code: 'tool_failed' } });
        expect(JSON.stringify(result)).not.toMatch(/secret|\.ts|at /);
      }
    });

    it('keeps the code and message of a known error', async () => {
      const result = await run({ execute: async () => Promise.reject(new NexusError('path_not_allowed', 'the path is a link')) });
      expect(result).toMatchObject({ type: 'failed', error: { code: 'path_not_allowed', message: 'the path is a link' } });
    });

    it('refuses an output that does not fit the output schema', async () => {
      const outputSchema = { type: 'object', required: ['total'] };
      expect(await run({ outputSchema, execute: async () => ({ type: 'ok', output: {} }) })).toMatchObject({
        type: 'failed',
        error: { code: 'tool_failed', message: expect.stringContaining('total') },
      });
      expect(await run({ outputSchema, execute: async () => ({ type: 'ok', output: { total: 1 } }) })).toMatchObject({ type: 'completed' });
    });

    it('stops a tool at its time limit', async () => {
      expect(await run({ execute: untilStopped }, { timeoutMs: 20 })).toMatchObject({ type: 'failed', error: { code: 'tool_timeout' } });
    });

    it('stops a tool when the caller cancels, and begins none that is cancelled already', async () => {
      const controller = new AbortController();
      void systemTimers.sleep(10).then(() => controller.abort());
      const cancelled = { type: 'failed', error: { code: 'cancelled' } };
      expect(await run({ execute: untilStopped }, {}, { signal: controller.signal })).toMatchObject(cancelled);
      let ran = false;
      const execute: Tool['execute'] = async () => {
        ran = true;
        return { type: 'ok', output: '' };
      };
      expect(await run({ effects: 'once', execute }, {}, { signal: AbortSignal.abort() })).toMatchObject(cancelled);
      expect(ran).toBe(false);
    });

    it('stops a tool when the reader leaves, and has ended the call when it is left', async () => {
      let stopped = false;
      const service = await create(
        makeTool({
          async execute(_input, { signal, onOutput }) {
            onOutput('working');
            await systemTimers.sleep(60_000, signal).catch(() => undefined);
            stopped = true;
            return { type: 'ok', output: '' };
          },
        }),
      );
      for await (const part of service.execute(makeToolCall(), { signal: new AbortController().signal })) {
        expect(part).toEqual({ type: 'output', text: 'working' });
        break;
      }
      expect(stopped).toBe(true);
    });

    it('says nothing more once the reader has left', async () => {
      const service = await create(makeTool({ execute: untilStopped }));
      const parts = service.execute(makeToolCall(), { signal: new AbortController().signal })[Symbol.asyncIterator]();
      const first = parts.next();
      await parts.return?.();
      expect(await first).toEqual({ value: undefined, done: true });
      expect(await parts.next()).toEqual({ value: undefined, done: true });
    });

    it('does not wait longer than the grace for a tool that ignores that its reader left', async () => {
      const execute: Tool['execute'] = (_input, { onOutput }) => {
        onOutput('working');
        return never();
      };
      const service = await create(makeTool({ execute }));
      const startedAt = performance.now();
      for await (const _part of service.execute(makeToolCall(), { signal: new AbortController().signal })) break;
      expect(performance.now() - startedAt).toBeLessThan(8_000);
    });

    it('gives up a tool that ignores its signal, and drops what it does later', async () => {
      let release: (result: ToolResult) => void = () => undefined;
      const late = new Promise<ToolResult>((resolve) => {
        release = resolve;
      });
      const result = await run({ execute: () => late }, { timeoutMs: 20 });
      expect(result).toMatchObject({ type: 'failed', error: { code: 'tool_timeout' } });
      release({ type: 'ok', output: 'late' });
    });

    it('keeps an answer that comes within the grace after the signal', async () => {
      const execute: Tool['execute'] = async (_input, { signal }) => {
        await systemTimers.sleep(60_000, signal).catch(() => undefined);
        return { type: 'ok', output: 'it was done' };
      };
      expect(await run({ effects: 'once', execute }, { timeoutMs: 20 })).toMatchObject({ type: 'completed', output: 'it was done' });
    });

    it('says that the outcome is unknown when a tool with effects once gives no answer in time', async () => {
      expect(await run({ effects: 'once', execute: never }, { timeoutMs: 20 })).toMatchObject({
        type: 'failed',
        error: { code: 'tool_outcome_unknown' },
      });
    });

    it('hands progress through while the tool works, and none after the end', async () => {
      const heard: ToolPart[] = [];
      let say: (text: string) => void = () => undefined;
      let heardWhileWorking = 0;
      await run(
        {
          execute: async (_input, { onOutput }) => {
            say = onOutput;
            onOutput('working');
            for (let waited = 0; heard.length === 0 && waited < 4_000; waited += 10) await systemTimers.sleep(10);
            heardWhileWorking = heard.length;
            onOutput('nearly ');
            onOutput('done');
            return { type: 'ok', output: 'the end' };
          },
        },
        {},
        { onPart: (part) => heard.push(part) },
      );
      say('too late');
      expect(heardWhileWorking).toBe(1);
      const texts = heard.flatMap((part) => (part.type === 'output' ? [part.text] : []));
      expect(texts.join('')).toBe('workingnearly done');
      expect(heard.at(-1)).toMatchObject({ type: 'completed', output: 'the end' });
    });

    it.each([1, 7, 990, 5_000])('bounds progress in pieces of %d characters', async (size) => {
      let chars = 0;
      await run(
        {
          execute: async (_input, { onOutput }) => {
            for (let sent = 0; sent < 5_000; sent += size) onOutput('x'.repeat(size));
            return { type: 'ok', output: '' };
          },
        },
        {},
        { onPart: (part) => (chars += part.type === 'output' ? part.text.length : 0) },
      );
      expect(chars).toBeLessThanOrEqual(1_000);
      expect(chars).toBeGreaterThan(900);
    });

    const asking = (then: (verdict: AuthorizationVerdict) => ToolResult): Partial<Tool> => ({
      execute: async (_input, { authorize }) =>
        then(await authorize({ action: 'net.egress', resource: 'example.com', context: { port: 443 } })),
    });
    const asText = asking((verdict) => ({ type: 'ok', output: verdict }));

    it('asks its caller before a tool touches something, and gives the tool the answer', async () => {
      const asked: unknown[] = [];
      const authorize: Reader['authorize'] = async (request) => {
        asked.push(request);
        return { allowed: false, error: { code: 'policy_denied', message: 'not this host' } };
      };
      const refused = await run(asText, {}, { authorize });
      expect(asked).toEqual([{ action: 'net.egress', resource: 'example.com', context: { port: 443 } }]);
      expect(refused).toMatchObject({
        type: 'completed',
        output: '{"allowed":false,"error":{"code":"policy_denied","message":"not this host"}}',
      });
      expect(await run(asText)).toMatchObject({ type: 'completed', output: '{"allowed":true}' });
    });

    it('keeps questions of calls apart, also when they are asked at once', async () => {
      const service = await create(
        makeTool({
          async execute({ host }, { authorize }) {
            const verdicts = await Promise.all(['a', 'b'].map((part) => authorize({ action: 'net.egress', resource: `${part}.${host}` })));
            return { type: 'ok', output: verdicts.map(({ allowed }) => allowed) };
          },
        }),
      );
      const authorize: Reader['authorize'] = async ({ resource }) =>
        resource === 'a.one' || resource === 'b.two'
          ? { allowed: true }
          : { allowed: false, error: { code: 'policy_denied', message: 'no' } };
      const ends = await Promise.all(
        ['one', 'two'].map((host) => readCall(service, makeToolCall({ callId: `call_${host}`, input: { host } }), { authorize })),
      );
      expect(ends).toMatchObject([{ output: '[true,false]' }, { output: '[false,true]' }]);
    });

    it('ignores answers that belong to another call, and answers that come twice or too late', async () => {
      const service = await create(makeTool(asText));
      const call = makeToolCall({ timeoutMs: 8_000 });
      for await (const part of service.execute(call, { signal: new AbortController().signal })) {
        if (part.type !== 'authorization.wanted') {
          expect(part).toMatchObject({ type: 'completed', output: expect.stringContaining('policy_denied') });
          continue;
        }
        const { callId, attempt } = call;
        const { authorizationId } = part;
        await service.authorize({ callId, attempt, authorizationId: 'none', allowed: true });
        await service.authorize({ callId: 'call_2', attempt, authorizationId, allowed: true });
        await service.authorize({ callId, attempt: 2, authorizationId, allowed: true });
        await service.authorize({ callId, attempt, authorizationId, allowed: false, error: { code: 'policy_denied', message: 'no' } });
        await service.authorize({ callId, attempt, authorizationId, allowed: true });
      }
    });

    it('waits for an answer no longer than the call may take', async () => {
      const service = await create(makeTool(asking((verdict) => ({ type: 'ok', output: verdict.allowed }))));
      const parts: ToolPart[] = [];
      let late: (() => Promise<void>) | undefined;
      const call = makeToolCall({ timeoutMs: 20 });
      for await (const part of service.execute(call, { signal: new AbortController().signal })) {
        parts.push(part);
        if (part.type !== 'authorization.wanted') continue;
        const { authorizationId } = part;
        late = () => service.authorize({ callId: call.callId, attempt: call.attempt, authorizationId, allowed: true });
      }
      await late?.();
      expect(parts).toMatchObject([{ type: 'authorization.wanted' }, { type: 'completed', output: 'false' }]);
    });

    it('refuses what a tool wants to touch after its call is over, without asking', async () => {
      let ask: (() => Promise<AuthorizationVerdict>) | undefined;
      const asked: ToolPart[] = [];
      await run(
        {
          execute: async (_input, { authorize }) => {
            ask = () => authorize({ action: 'net.egress', resource: 'example.com' });
            return { type: 'ok', output: '' };
          },
        },
        {},
        { onPart: (part) => asked.push(part) },
      );
      expect(await ask?.()).toMatchObject({ allowed: false, error: { code: 'cancelled' } });
      expect(asked.map(({ type }) => type)).toEqual(['completed']);
    });

    it('tells the tool when its call is over', async () => {
      let signal: AbortSignal | undefined;
      await run({
        execute: async (_input, context) => {
          signal = context.signal;
          return { type: 'ok', output: signal.aborted };
        },
      });
      expect(signal?.aborted).toBe(true);
    });

    it('stops what runs when it is closed and runs nothing after', async () => {
      let stopped = false;
      let begin: () => void = () => undefined;
      const began = new Promise<void>((resolve) => {
        begin = resolve;
      });
      const execute: Tool['execute'] = async (_input, { signal }) => {
        begin();
        await systemTimers.sleep(60_000, signal).catch(() => systemTimers.sleep(10));
        stopped = true;
        signal.throwIfAborted();
        return { type: 'ok', output: '' };
      };
      const service = await create(makeTool({ execute }));
      const running = readCall(service, makeToolCall({ timeoutMs: 60_000 }));
      await began;
      await service.close();
      expect(stopped).toBe(true);
      expect(await running).toMatchObject({ type: 'failed', error: { code: 'cancelled' } });
      expect(await readCall(service, makeToolCall())).toMatchObject({ type: 'failed', error: { code: 'unavailable' } });
    });
  });
}
