import { afterEach, describe, expect, it } from 'vitest';
import { systemTimers } from '#core';
import type { Tool, ToolService } from '#tools';
import { createTestToolService, makeTool, makeToolCall, readCall } from '../testing/index.ts';
import { callTools, serveTools, startRelay } from './testing/index.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

type ServerSettings = Parameters<typeof serveTools>[1];

/** An agent core, its caller, and a way between them that can break. */
async function open(service: ToolService, serving: ServerSettings = {}, calling: Parameters<typeof callTools>[1] = {}) {
  const server = await serveTools(service, serving);
  const relay = await startRelay(server.port);
  const remote = callTools(relay.port, calling);
  closers.push(
    () => service.close(),
    () => server.close(0),
    () => relay.close(),
    () => remote.close(),
  );
  await remote.list('ten_1');
  return { server, relay, remote };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 10) {
    if (waited > 15_000) throw new Error(`in vain: ${what}`);
    await systemTimers.sleep(10);
  }
}

/** A tool that works until it is told to stop, and counts. */
function working(definition: Partial<Tool> = {}) {
  const seen = { begun: 0, stopped: 0 };
  const execute: Tool['execute'] = async (_input, { signal }) => {
    seen.begun += 1;
    await systemTimers.sleep(60_000, signal).catch(() => undefined);
    seen.stopped += 1;
    throw new Error('stopped');
  };
  return { seen, tool: makeTool({ timeoutMs: 60_000, execute, ...definition }) };
}

const code = { callsTools: true, effects: 'none' } as const;
const calling = { calling: { offered: [], waitMs: 1_000 } };

describe('what went wrong elsewhere', () => {
  it.each([
    ['none', 'unavailable'],
    ['once', 'tool_outcome_unknown'],
  ] as const)(
    'a call with effects %s does not wait for ever for an agent core that is frozen [verifies tools.wire.lost]',
    async (effects, code) => {
      const { seen, tool } = working({ effects });
      const { relay, remote, server } = await open(
        createTestToolService([tool], { graceMs: 50 }),
        { keepaliveMs: 300 },
        { keepaliveMs: 300 },
      );
      const ending = readCall(remote, makeToolCall({ timeoutMs: 60_000 }));
      await until('it to begin', () => seen.begun === 1);
      relay.freeze();
      const startedAt = performance.now();
      expect(await ending).toMatchObject({ type: 'failed', error: { code }, began: true });
      expect(performance.now() - startedAt).toBeLessThan(5_000);
      await until('the tool to stop as well', () => seen.stopped === 1 && server.running() === 0);
    },
  );

  it('a call that says nothing for long is not cut off by those who try the connection', async () => {
    const execute: Tool['execute'] = async (_input, { signal }) => {
      await systemTimers.sleep(3_000, signal);
      return { type: 'ok', output: 'after all' };
    };
    const { remote } = await open(createTestToolService([makeTool({ execute })]), { keepaliveMs: 100 }, { keepaliveMs: 100 });
    expect(await readCall(remote, makeToolCall({ timeoutMs: 20_000 }))).toMatchObject({ type: 'completed', output: 'after all' });
  });

  it('the work of a call whose time is over does not go on behind it', async () => {
    const { seen, tool } = working();
    const { remote, server } = await open(createTestToolService([tool], { graceMs: 50 }));
    expect(await readCall(remote, makeToolCall({ timeoutMs: 200 }))).toMatchObject({ type: 'failed', error: { code: 'tool_timeout' } });
    await until('it to stop', () => seen.stopped === 1 && server.running() === 0);
  });

  it('code whose agent core is lost is sent again, no more than twice, and only while its time lasts [verifies tools.wire.code]', async () => {
    const { seen, tool } = working(code);
    const { relay, remote } = await open(createTestToolService([tool], { graceMs: 50 }));
    const ending = readCall(remote, makeToolCall({ timeoutMs: 60_000, ...calling }));
    for (let times = 1; times <= 3; times += 1) {
      await until(`it to begin, ${times}`, () => seen.begun === times);
      relay.cut();
      relay.mend();
    }
    expect(await ending).toMatchObject({ type: 'failed', error: { code: 'unavailable' }, began: true });
    expect(seen.begun).toBe(3);
    const short = readCall(remote, makeToolCall({ callId: 'call_2', timeoutMs: 1_500, ...calling }));
    await until('the next to begin', () => seen.begun === 4);
    await systemTimers.sleep(1_000);
    relay.cut();
    relay.mend();
    const startedAt = performance.now();
    expect(await short).toMatchObject({ type: 'failed', error: { code: 'tool_timeout' } });
    expect(performance.now() - startedAt).toBeLessThan(1_500); // what is left of its time, and not all of it anew
  });

  it.each([
    ['that may take effect', { ...code, effects: 'once' as const }, calling, 'tool_outcome_unknown'],
    ['of a tool that calls no others', { effects: 'none' as const }, {}, 'unavailable'],
  ])('a call %s is not sent again [verifies tools.wire.lost tools.wire.code]', async (_what, definition, more, expected) => {
    const { seen, tool } = working(definition);
    const { relay, remote } = await open(createTestToolService([tool], { graceMs: 50 }));
    const ending = readCall(remote, makeToolCall({ timeoutMs: 60_000, ...more }));
    await until('it to begin', () => seen.begun === 1);
    relay.cut();
    relay.mend();
    expect(await ending).toMatchObject({ type: 'failed', error: { code: expected }, began: true });
    await systemTimers.sleep(500);
    expect(seen.begun).toBe(1);
  });

  it('code that is cancelled while its agent core is away ends, and was begun [verifies tools.wire.cancel tools.wire.code]', async () => {
    const { seen, tool } = working(code);
    const { relay, remote } = await open(createTestToolService([tool], { graceMs: 50 }), {}, { connectTimeoutMs: 20_000 });
    const stop = new AbortController();
    const ending = readCall(remote, makeToolCall({ timeoutMs: 60_000, ...calling }), { signal: stop.signal });
    await until('it to begin', () => seen.begun === 1);
    relay.cut();
    await systemTimers.sleep(300);
    stop.abort();
    expect(await ending).toMatchObject({ type: 'failed', error: { code: 'cancelled' }, began: true });
    relay.mend();
    await systemTimers.sleep(300);
    expect(seen.begun).toBe(1);
  });
});
