import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { NexusError } from '#core';
import type { Tool } from '#tools';

/** Its result is longer than a page of events. */
const chatty: Tool = {
  name: 'chatty',
  description: 'Gives a long text',
  inputSchema: { type: 'object', properties: {} },
  effects: 'none',
  permissions: [],
  timeoutMs: 10_000,
  execute: async () => ({ type: 'ok', output: 'x'.repeat(1_200_000) }),
};

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ tools: [chatty], config: { tools: { maxOutputChars: 2_000_000 } } });
  await platform.agent('chatty');
});
afterAll(() => platform.close());

/** The address of a page that nobody has read. */
async function longPage(): Promise<string> {
  const runId = await platform.complete({ agent: 'chatty', input: '[[sim tools=chatty()]] [[sim say="ok"]]' });
  const seq = (await platform.events(runId)).at(-1)?.seq;
  return `${platform.url}/v1/runs/${runId}/events?after=${seq}`;
}

it('tells the log what ended a page of events early, and the reader by an answer that is too short', async () => {
  const page = await longPage();
  const read = async () => (await fetch(page)).text();
  const fault = new NexusError('storage_unavailable', 'the disk of the journal cannot be read');
  const mend = platform.faults.fail('readEventData', fault, { after: 2 });
  await expect(read()).rejects.toThrow('terminated');
  mend();
  const told = platform.logs.filter(({ message }) => message === 'stream failed unexpectedly');
  expect(told.map(({ fields }) => fields.err)).toEqual([fault]);
  expect(JSON.parse(await read()).data.map(({ type }: { type: string }) => type)).toEqual(['tool.completed']);
});

it('has nothing to tell of a reader that left', async () => {
  const page = await longPage();
  const before = platform.logs.length;
  for (let times = 0; times < 5; times++) await (await fetch(page)).body?.cancel();
  await expect.poll(() => platform.metric('nexus_http_connections')).toBeLessThan(3);
  expect(platform.logs.slice(before).filter(({ level }) => level === 'error')).toEqual([]);
});
