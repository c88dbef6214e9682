import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execPath } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Approval } from '@nexus-agent/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createJail } from '../../packages/server/src/tools/index.ts';
import { type AskingServer, startAskingServer, tableForm } from '../e2e/support/asking-server.ts';
import { type NodeProcess, runNexus, startNode } from '../e2e/support/node-process.ts';

const example = join(import.meta.dirname, '../../examples/mcp-asking');
let folder: string;
let node: NodeProcess;
let asker: AskingServer;
let calls: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-asking-'));
  calls = 0;
  asker = await startAskingServer({
    async former({ ask }) {
      calls += 1;
      return `heard ${JSON.stringify((await ask('elicitation/create', tableForm)).result)}`;
    },
    modern({ inputResponses, requestState }) {
      calls += 1;
      if (inputResponses === undefined)
        return {
          resultType: 'input_required',
          requestState: 'kept',
          inputRequests: { table: { method: 'elicitation/create', params: tableForm } },
        };
      const heard = (inputResponses as Record<string, unknown>).table;
      return { resultType: 'complete', content: [{ type: 'text', text: `heard ${JSON.stringify(heard)} in ${String(requestState)}` }] };
    },
  });
  const settings = { mcpClient: { allowPrivate: [`127.0.0.1:${asker.port}`], stdio: { readOnly: [dirname(execPath), example] } } };
  writeFileSync(join(folder, 'nexus.config.json'), JSON.stringify(settings));
  node = await serve();
}, 30_000);

afterEach(async () => {
  await node.kill();
  await asker.close();
  rmSync(folder, { recursive: true, force: true });
});

const serve = () => startNode(folder, { NEXUS_DATA_DIR: folder, HOME: folder, NEXUS_CONFIG: join(folder, 'nexus.config.json') });

async function add(name: 'former' | 'modern', more: object = {}): Promise<void> {
  const transport = { type: 'http', url: asker.url(name) };
  expect(await node.call('PUT', `/v1/mcp-servers/${name}`, { transport, elicitation: true, ...more })).toMatchObject({ status: 200 });
  await agent(name, [`${name}_*`, 'net:127.0.0.1', 'ask_human']);
}

const agent = (name: string, allow: readonly string[], more: object = {}) =>
  node.call('POST', '/v1/agents', { name, models: ['sim/sim-large'], tools: [`${name}_*`], policy: { allow }, ...more });

const start = async (name: string, tool = 'book()') =>
  (await node.call('POST', '/v1/runs', { agent: name, input: `[[sim tools=${name}_${tool}]] [[sim say="{{result}}"]]` })).body.id as string;

/** What the run asks for: another one than was asked before. */
async function question(runId: string, before = ''): Promise<Approval> {
  for (let looks = 0; looks < 400; looks++) {
    const { body } = await node.call('GET', '/v1/approvals?status=pending');
    const found = (body.data as Approval[]).find((each) => each.runId === runId && each.id !== before);
    if (found !== undefined) return found;
    await sleep(50);
  }
  throw new Error(`the run ${runId} asks nothing`);
}

async function output(runId: string): Promise<string> {
  for (let looks = 0; looks < 400; looks++) {
    const { body } = await node.call('GET', `/v1/runs/${runId}`);
    if (body.status === 'completed') return body.output;
    if (body.status === 'failed' || body.status === 'cancelled') throw new Error(JSON.stringify(body));
    await sleep(50);
  }
  throw new Error(`the run ${runId} does not end`);
}

const answer = (approval: Approval, body: object) => node.call('POST', `/v1/approvals/${approval.id}`, body);
const filledIn = { decision: 'answer', content: { guests: 2, when: '2026-05-31' } };
const accepted = '{"action":"accept","content":{"guests":2,"name":"Ada","when":"2026-05-31","quiet":true}}';

describe('our process is killed while a person is asked', () => {
  it('a call of the later revision goes on from what was kept, exactly once [verifies tools.mcp.asking.killed]', async () => {
    await add('modern');
    const runId = await start('modern');
    const asked = await question(runId);
    await node.kill();
    node = await serve();
    expect(await answer(asked, filledIn)).toMatchObject({ status: 200 });
    expect(await output(runId)).toBe(`heard ${accepted} in kept`);
    expect(calls).toBe(2);
    expect((await node.call('POST', `/v1/runs/${runId}/replay`)).body).toMatchObject({ matches: true });
  }, 60_000);

  it('the outcome of a call of the former revision is asked of a person [verifies tools.mcp.asking.killed]', async () => {
    await add('former');
    const runId = await start('former');
    const asked = await question(runId);
    await node.kill();
    node = await serve();
    expect(await answer(asked, filledIn)).toMatchObject({ status: 200 });
    const unknown = await question(runId, asked.id);
    expect(unknown).toMatchObject({ kind: 'unknown_outcome', toolName: 'former_book' });
    expect(calls).toBe(1);
    // Done again, it asks again: the process that held the conversation is gone.
    expect(await answer(unknown, { decision: 'retry' })).toMatchObject({ status: 200 });
    expect(await answer(await question(runId, unknown.id), filledIn)).toMatchObject({ status: 200 });
    expect(await output(runId)).toBe(`heard ${accepted}`);
    expect(calls).toBe(2);
  }, 60_000);

  it('a call of the former revision that may be repeated is begun anew [verifies tools.mcp.asking.killed]', async () => {
    await add('former', { effects: { book: 'idempotent' } });
    const runId = await start('former');
    const asked = await question(runId);
    await node.kill();
    node = await serve();
    await answer(asked, filledIn);
    expect(await answer(await question(runId, asked.id), filledIn)).toMatchObject({ status: 200 });
    expect(await output(runId)).toBe(`heard ${accepted}`);
    expect(calls).toBe(2);
  }, 60_000);
});

const reason = await createJail({ clock: systemClock, timers: systemTimers }).refusal();
describe.skipIf(reason !== null)('a program that asks', () => {
  const cli = (...words: string[]) => runNexus(words, { NEXUS_URL: node.url, HOME: folder });
  const addTable = () =>
    cli(
      ...['mcp', 'add', 'table', '--elicitation', '--sampling', 'namer'],
      ...['--read-only', dirname(execPath), '--read-only', example, '--', execPath, join(example, 'server.mjs')],
    );

  it('is answered at the command line, and by an agent [verifies tools.mcp.elicitation tools.mcp.sampling]', async () => {
    const added = await addTable();
    expect([added.code, added.out]).toEqual([0, expect.stringMatching(/it may ask people .*the agent namer answers/s)]);
    await agent('namer', [], { tools: [] });
    await agent('table', ['table_*', 'ask_human', 'agent_namer'], { subagents: ['namer'] });
    const runId = await start('table', 'book(restaurant="Aria")');
    const { id } = await question(runId);
    const shown = await cli('approvals', 'show', id);
    expect(shown.out).toMatch(/asked by the MCP server table/);
    expect(shown.out).toMatch(/guests \(whole number 1\.\.12, required\) Guests/);
    expect(shown.out).toMatch(/place \(one of: in = inside, out = in the garden; else "in"\) Place/);
    const misfit = await cli('approvals', 'answer', id, 'guests=20', 'day=2026-05-31');
    expect([misfit.code === 0, misfit.err]).toEqual([false, expect.stringMatching(/guests: expected at most 12/)]);
    const unnamed = await cli('approvals', 'answer', id, 'seats=2');
    expect(unnamed.err).toMatch(/expected name=value with one of the names guests, day, place/);
    const given = await cli('approvals', 'answer', id, 'guests=4', 'day=2026-05-31', 'place=in the garden');
    expect([given.code, given.err]).toEqual([0, '']);
    expect(await output(runId)).toBe('Booked at Aria for 4 on 2026-05-31, out.');
    expect(await output(await start('table', 'name_it(thing="it")'))).toMatch(/^It is called .+/s);
  }, 60_000);

  it('is gone with our process, and its outcome is asked of a person [verifies tools.mcp.asking.killed]', async () => {
    await addTable();
    await agent('table', ['table_*', 'ask_human']);
    const runId = await start('table', 'book(restaurant="Aria")');
    const asked = await question(runId);
    await node.kill();
    node = await serve();
    await answer(asked, { decision: 'answer', content: { guests: 4, day: '2026-05-31' } });
    expect(await question(runId, asked.id)).toMatchObject({ kind: 'unknown_outcome' });
  }, 60_000);
});
