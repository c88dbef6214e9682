import { existsSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { AgentDefinition } from '@nexus-agent/protocol';
import { createNexusClient, defineTool, serveTools } from '@nexus-agent/sdk';
import { expect, it } from 'vitest';
import { howMany } from '../support/how-many.ts';
import { execute } from '../support/sql.ts';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { type Cluster, until, type WorkerProcess } from './cluster.ts';
import { onEachDatabase } from './databases.ts';

/** How many calls are killed on each database, before everything is looked at. */
const calls = howMany('NEXUS_TEST_KILLED_CALLS', 250);
const runsAtOnce = 24;

const handy = AgentDefinition.parse({
  name: 'handy',
  instructions: 'Do as you are told.',
  models: ['sim/sim-large'],
  tools: ['probe_*', 'shell', 'code_python', 'code_js', 'fs_*', 'hold', 'slow_*'],
  maxParallelTools: 8,
  policy: { allow: ['probe_*', 'shell', 'code_python', 'code_js', 'fs_*', 'hold', 'slow_*'] },
});

/** A program that is an MCP server, and answers no call of its tool. */
const slowProgram = `
import json, sys
answers = {
    'initialize': {'protocolVersion': '2025-11-25', 'capabilities': {'tools': {}}, 'serverInfo': {'name': 'slow', 'version': '1.0.0'}},
    'tools/list': {'tools': [{'name': 'wait', 'description': 'never ends', 'inputSchema': {'type': 'object'}}]},
}
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get('method') in answers:
        print(json.dumps({'jsonrpc': '2.0', 'id': asked['id'], 'result': answers[asked['method']]}), flush=True)
`;

/** One call of each kind, none of which would end by itself while the test lasts. */
function input(number: number): string {
  const tools = [
    `shell(command="sleep 86399 & sleep 86399")`,
    `code_python(code="import time\\nopen('py.txt', 'w').write('x' * 100000)\\ntime.sleep(86399)")`,
    `code_js(code=${JSON.stringify(`await tools.probe_read({ name: 'js-${number}', barrier: 'never' })`)})`,
    `probe_put(name="put-${number}",barrier="never")`,
    `probe_pay(name="pay-${number}",waitMs=86399000)`,
    `hold(n=${number})`,
    `slow_wait(n=${number})`,
  ];
  return `[[sim tools=fs_write(path="a.txt",content="x")]] [[sim tools=${tools.join(',')}]] [[sim say="done"]]`;
}

const clientOf = ({ url }: WorkerProcess) => createNexusClient({ baseUrl: url, retry: { baseMs: 20, maxMs: 200 } });

async function start(worker: WorkerProcess, number: number): Promise<string> {
  return (await clientOf(worker).runs.create({ agent: 'handy', input: input(number), budget: { toolCalls: 1_000 } })).id;
}

/** Calls that have begun and not ended, as the journals say. */
async function underWay(cluster: Cluster, runs: readonly string[]): Promise<number> {
  let count = 0;
  for (const id of runs) {
    if ((await runOf(cluster, id))?.status !== 'running') continue;
    const open = new Set<string>();
    for (const { type, data } of await journalOf(cluster, id)) {
      if (type === 'tool.started') open.add(data.callId);
      if (type === 'tool.completed') open.delete(data.callId);
    }
    count += open.size;
  }
  return count;
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly line: string;
}

function processes(): Process[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return [{ pid: Number(pid), parent: Number(parent), line: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') }];
    } catch {
      return []; // it has ended meanwhile
    }
  });
}

/** What the server has started, and what all of its jails have in their command lines. */
function startedBy(server: WorkerProcess): { readonly pids: readonly number[]; readonly mark: string | undefined } {
  const own = processes().filter(({ parent }) => parent === server.pid);
  const marks = own.flatMap(({ line }) => /nexus-jail-[0-9a-f-]{36}/.exec(line)?.[0] ?? []);
  return { pids: own.map(({ pid }) => pid), mark: marks[0] };
}

/** Folders that processes made for sessions. */
function foldersOf(dataDir: string): string[] {
  const root = join(dataDir, 'folders');
  return existsSync(root) ? readdirSync(root).map((name) => join(root, name)) : [];
}

onEachDatabase('calls whose process is killed', { agents: [handy], drainMs: 1_000, alone: true }, (use) => {
  it(`${calls} of them leave no process, folder, lease or reservation behind [verifies tools.killed.nothing-left]`, async (context) => {
    if (process.platform !== 'linux') return context.skip('processes are looked up in /proc');
    const cluster = use(context);
    const runs: string[] = [];
    let [killed, kills, number] = [0, 0, 0];
    while (killed < calls) {
      const server = await cluster.start();
      if (kills === 0) {
        const program = { type: 'stdio' as const, command: 'python3', args: ['-c', slowProgram] };
        expect((await clientOf(server).mcpServers.put('slow', { transport: program })).tools).toMatchObject([
          { name: 'slow_wait', state: 'ready' },
        ]);
      }
      const hold = defineTool({
        ...{ name: 'hold', description: 'Never ends.', effects: 'idempotent', input: { type: 'object' } },
        execute: (_input, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      });
      const worker = serveTools(clientOf(server), [hold], { name: 'holders', maxConcurrent: 1_000 });
      await worker.ready;
      for (let started = 0; started < runsAtOnce; started++) runs.push(await start(server, number++));
      const least = Math.min(runsAtOnce * 4, calls - killed);
      const count = await until('the calls to be under way', async () => {
        const open = await underWay(cluster, runs.slice(-runsAtOnce));
        return open >= least && open;
      });
      const { mark, pids } = await until('jailed programs to run', () => {
        const started = startedBy(server);
        return started.mark !== undefined && started;
      });
      await server.kill();
      killed += count;
      kills += 1;
      const left = () => processes().filter(({ pid, line }) => line.includes(mark ?? '') || pids.includes(pid));
      await until('its processes to be gone', () => left().length === 0, 10_000).catch(() => expect(left()).toEqual([]));
      await worker.close({ graceMs: 0 });
    }
    let asked = 0;
    for (const id of runs)
      asked += (await journalOf(cluster, id)).filter((event) => event.type === 'tool.started' && event.data.name === 'slow_wait').length;
    expect(asked).toBeGreaterThan(kills);
    // As if nothing had been heard of their processes for long.
    const dead = foldersOf(cluster.dataDir());
    for (const folder of dead) utimesSync(join(folder, '.alive'), 0, 0);
    const last = await cluster.start();
    const { runs: api } = clientOf(last);
    for (const id of runs) await api.cancel(id);
    for (const id of runs)
      await until(`${id} to end`, async () => ['cancelled', 'failed'].includes((await runOf(cluster, id))?.status ?? ''), 60_000);
    expect(await auditBooks(cluster)).toEqual([]);
    await clientOf(last).mcpServers.delete('slow'); // its program is kept as long as it may be called
    await until('its programs to end', () => startedBy(last).mark === undefined, 10_000);
    last.signal('SIGTERM');
    expect(await last.ended).toBe(0);
    // Processes on one Postgres share no folder.
    if (cluster.databaseUrl === null) expect(dead).toHaveLength(kills);
    expect(foldersOf(cluster.dataDir())).toEqual([]);
    const location = cluster.databaseUrl === null ? { dataDir: cluster.dataDir() } : { url: cluster.databaseUrl };
    // What a worker had when both were gone is nobody's once its lease is over, and forgotten a day later.
    for (const row of await execute(location, "SELECT lease_until, expires_at FROM tool_calls WHERE status <> 'done'")) {
      const { lease_until, expires_at } = row as { readonly lease_until: unknown; readonly expires_at: unknown }; // as asked for
      expect(Number(lease_until)).toBeLessThan(Date.now() + 60_000);
      expect(Number(expires_at)).toBeLessThan(Date.now() + 26 * 3_600_000);
    }
    expect(await execute(location, 'SELECT lease_owner FROM runs WHERE lease_owner IS NOT NULL')).toEqual([]);
  }, 300_000);
});
