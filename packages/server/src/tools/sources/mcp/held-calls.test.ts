import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import type { ToolContext, ToolResult } from '#tools/contract';
import { callThatAsks } from './asking-call.ts';
import { Conversation, type TalkOptions } from './conversation.ts';
import { createHeldCalls } from './held-calls.ts';

const dayMs = 86_400_000;

/** A process whose runs call a server that asks a person in each call. */
function caller() {
  const { clock, timers, advance } = createManualTime();
  const over = new Set<string>();
  const held = createHeldCalls({ timers, isRunOver: async (_tenant, runId) => over.has(runId) });
  /** Why the server was told that its call is cancelled. */
  const aborted: string[] = [];
  const states = {
    keep: async () => {
      await timers.sleep(10); // as a store takes its time
      return { sha256: 'x', bytes: 1 };
    },
    read: async () => new Uint8Array(),
  };
  const talk = async ({ signal, onAsked }: TalkOptions) => {
    signal.addEventListener('abort', () => aborted.push(String(signal.reason.message)));
    const params = { message: 'Which?', requestedSchema: { type: 'object', properties: {} } };
    const text = await onAsked({ method: 'elicitation/create', params }).then(JSON.stringify, (error: Error) => error.message);
    return { content: [{ type: 'text', text }] };
  };
  const offers = { elicitation: true, sampling: null };
  const rules = { server: 'table', tool: 'table_book', isGranted: () => false, offers, offered: ['ask_human'] };
  const ask = (tenantId: string, runId: string, waitMs = 9 * dayMs) =>
    callThatAsks(
      { clock, timers, held, states },
      { tool: { name: 'table_book', effects: 'once' }, rules, timeoutMs: 60_000, talk },
      {
        ...{ tenantId, runId, callId: 'call_1', attempt: 1, onOutput: () => undefined },
        ...{ signal: new AbortController().signal, calling: { offered: ['ask_human'], waitMs } },
      } as unknown as ToolContext, // what a call that asks reads of it
    );
  const many = async (tenantId: string, count: number) => {
    const calls = Array.from({ length: count }, (_, index) => ask(tenantId, `${tenantId}-${index}`));
    await advance(1_000);
    return Promise.all(calls);
  };
  return { advance, held, over, aborted, many };
}

const held = (results: readonly ToolResult[]) => results.filter(({ type }) => type === 'suspended').length;
const told = (results: readonly ToolResult[]) => results.flatMap((result) => (result.type === 'ok' ? [result.output] : []));

it('a tenant holds 20 conversations, also when all ask at the same moment, and the servers of the others are told [verifies tools.mcp.asking.held]', async () => {
  const { many, over, advance } = caller();
  const results = await many('one', 30);
  expect(held(results)).toBe(20);
  expect(told(results)).toEqual(Array.from({ length: 10 }, () => 'too many calls wait for people here'));
  expect(held(await many('two', 1))).toBe(1);
  // A run that has ended makes room.
  over.add('one-0');
  await advance(6_000);
  expect(held(await many('one', 2))).toBe(1);
});

it('a process holds 200 conversations of all tenants, none for longer than a day, and none once it is closed [verifies tools.mcp.asking.held]', async () => {
  const { many, advance, aborted, held: conversations } = caller();
  const all = await Promise.all(Array.from({ length: 11 }, (_, tenant) => many(`tenant-${tenant}`, 20)));
  expect(held(all.flat())).toBe(200);
  await advance(dayMs - 60_000);
  expect(aborted).toEqual([]);
  await advance(120_000);
  expect(aborted).toEqual(Array.from({ length: 200 }, () => 'the MCP server waited too long for an answer'));
  expect(held(await many('tenant-1', 1))).toBe(1);
  conversations.close();
  expect(aborted).toHaveLength(201);
  expect(told(await many('tenant-1', 1))).toHaveLength(1);
});

it('a server that answers without waiting is told of all that it asked that the call is over [verifies tools.mcp.asking.bounds]', async () => {
  const { timers, advance } = createManualTime();
  const heard: string[] = [];
  let finish: () => void = () => undefined;
  const talk = async ({ onAsked }: TalkOptions) => {
    const ask = () =>
      onAsked({ method: 'elicitation/create', params: { message: 'm', requestedSchema: { type: 'object', properties: {} } } }).catch(
        ({ message }: Error) => heard.push(message),
      );
    void ask();
    await timers.sleep(100);
    void ask();
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
  };
  const offers = { elicitation: true, sampling: null };
  const rules = { server: 's', tool: 's_t', isGranted: () => false, offers, offered: ['ask_human'] };
  const conversation = new Conversation(timers, rules, talk);
  const next = conversation.next(new AbortController().signal);
  await advance(200);
  expect(await next).toMatchObject({ type: 'asked', wanted: [{}] });
  finish();
  await advance(10);
  expect(heard).toEqual(['the call is over', 'the call is over']);
});
