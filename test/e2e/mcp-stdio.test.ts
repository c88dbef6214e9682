import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Revision, revisions, textOf } from './support/mcp-client.ts';
import { startTestServer, type TestServer } from './support/server.ts';
import { createProbe } from './support/tools.ts';

const program = fileURLToPath(new URL('../../packages/server/bin/nexus.mjs', import.meta.url));
const probe = createProbe();
/** Each test starts processes, which takes long on a machine that is busy. */
const patienceMs = 120_000;
let server: TestServer;
let folder: string;
const open: Client[] = [];

interface Started {
  readonly client: Client;
  readonly pid: number;
}

async function start(revision: Revision, env: Record<string, string>, ...args: string[]): Promise<Started> {
  const client = new Client(
    { name: 'a-client', version: '1.0.0' },
    {
      capabilities: { elicitation: { form: {} } },
      versionNegotiation: { mode: revision === '2026-07-28' ? { pin: revision } : 'legacy' },
    },
  );
  client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: {} }));
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: ['--conditions=nexus-source', program, 'mcp', 'serve', ...args],
    env: { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: join(tmpdir(), 'nexus-nodes-compiled'), ...env },
    cwd: folder,
    stderr: 'ignore',
  });
  await client.connect(transport);
  open.push(client);
  return { client, pid: transport.pid ?? 0 };
}

/** Whether a process lives; a dead one that nobody has waited for yet does not. */
function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nexus-stdio-'));
  server = await startTestServer({ tools: probe.tools });
  await server.agent('worker');
  await server.agent('asking', { tools: ['probe'], policy: { approve: ['probe'] } });
});
afterEach(async () => {
  for (const client of open.splice(0)) await client.close();
});
afterAll(async () => {
  await server.verifyRuns();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

it.each(revisions)(
  'is the server that runs, on standard input and output, of revision %s [verifies mcp.server.stdio]',
  async (revision) => {
    const { client, pid } = await start(revision, { NEXUS_URL: server.app.url }, '--agent', 'worker');
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(expect.arrayContaining(['probe', 'agent_worker']));
    // It takes a while: the official client drops the progress that it reads together with the answer.
    const steps: (string | undefined)[] = [];
    const input = '[[sim tools=probe(label="größer",waitMs=500)]] [[sim say="{{result}}"]]';
    const answer = await client.callTool(
      { name: 'agent_worker', arguments: { input } },
      { onprogress: ({ message }) => void steps.push(message) },
    );
    expect(textOf(answer)).toBe('größer');
    expect(steps).toContain('runs probe');
    if (revision === '2026-07-28') {
      const approved = await client.callTool({
        name: 'agent_asking',
        arguments: { input: '[[sim tools=probe(label="yes")]] [[sim say="{{result}}"]]' },
      });
      expect(textOf(approved)).toBe('yes');
    }
    await expect(client.readResource({ uri: 'nexus://sessions/größe/messages' })).rejects.toThrow();

    const stop = new AbortController();
    const call = client.callTool(
      { name: 'agent_worker', arguments: { input: '[[sim tools=probe(waitMs=9000)]]' } },
      { signal: stop.signal },
    );
    const rejected = expect(call).rejects.toThrow();
    await expect.poll(() => probe.running, { timeout: 30_000 }).toBe(1);
    stop.abort(new Error('enough'));
    await rejected;
    const [{ id }] = (await server.call('GET', '/v1/runs?limit=1')).body.data;
    expect(await server.until(id, 'cancelled')).toMatchObject({ agent: 'worker' });
    await client.close();
    await expect.poll(() => lives(pid), { timeout: 30_000 }).toBe(false);
  },
  patienceMs,
);

it.each(revisions)(
  'leaves nothing behind when it is killed in the middle of a call, of revision %s [verifies mcp.server.stdio]',
  async (revision) => {
    const { client, pid } = await start(revision, { NEXUS_URL: server.app.url });
    const call = client.callTool({ name: 'agent_worker', arguments: { input: '[[sim tools=probe(waitMs=3000)]] [[sim say="on"]]' } });
    const rejected = expect(call).rejects.toThrow();
    await expect.poll(() => probe.running, { timeout: 30_000 }).toBe(1);
    process.kill(pid, 'SIGKILL');
    await rejected;
    await expect.poll(() => lives(pid), { timeout: 30_000 }).toBe(false);
    // Where leaving is cancelling the run ends with its client; where it is not the run goes on to its end.
    const [{ id }] = (await server.call('GET', '/v1/runs?limit=1')).body.data;
    await server.until(id, revision === '2026-07-28' ? 'cancelled' : 'completed');
  },
  patienceMs,
);

it(
  'starts a server inside it where none runs [verifies mcp.server.stdio]',
  async () => {
    const env = { NEXUS_DATA_DIR: join(folder, 'data'), NEXUS_PORT: '8591' };
    const { client, pid } = await start('2025-11-25', env, '--embedded');
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('agent_chat');
    await client.close();
    await expect.poll(() => lives(pid), { timeout: 30_000 }).toBe(false);
  },
  patienceMs,
);
