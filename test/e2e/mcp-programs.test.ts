import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execPath } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { createJail } from '../../packages/server/src/tools/index.ts';
import { type NodeProcess, runNexus, startNode } from './support/node-process.ts';

/** For `node -e`: answers what it is asked, and stays when its input ends. */
const program = `
const tools = [{ name: 'echo', description: 'does echo', inputSchema: { type: 'object', properties: { text: { type: 'string' } } } }];
const results = {
  initialize: () => ({ protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'echoes', version: '1.0.0' } }),
  'tools/list': () => ({ tools }),
  'tools/call': ({ arguments: { text } }) => ({ content: [{ type: 'text', text: 'said ' + text }] }),
};
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const known = results[method];
  const answer = known === undefined ? { error: { code: -32601, message: 'no such method' } } : { result: known(params) };
  process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, ...answer }) + '\\n');
});
setInterval(() => undefined, 1000);
`;

/** A public package, as npm installs it. */
const memoryServer = createRequire(import.meta.url).resolve('@modelcontextprotocol/server-memory/dist/index.js');
const packages = join(import.meta.dirname, '../../node_modules');

const reason = await createJail({ clock: systemClock, timers: systemTimers }).refusal();
if (reason !== null) describe('programs as MCP servers', () => it.skip(`not run: ${reason}`));
else describe('programs as MCP servers', suite);

function suite() {
  const mark = `nexus-mcp-e2e-${process.pid}`;
  let folder: string;
  let node: NodeProcess;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nexus-mcp-programs-'));
    const config = join(folder, 'nexus.config.json');
    writeFileSync(config, JSON.stringify({ mcpClient: { stdio: { readOnly: [dirname(execPath), packages] } } }));
    node = await startNode(folder, { NEXUS_DATA_DIR: folder, HOME: folder, NEXUS_CONFIG: config });
  }, 30_000);

  afterAll(async () => {
    await node.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  const left = (of = mark) =>
    readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(of);
      } catch {
        return false;
      }
    });

  /** What the run comes to. */
  async function ran(agent: string, input: string) {
    const { body: run } = await node.call('POST', '/v1/runs', { agent, input });
    const outcome = async () => (await node.call('GET', `/v1/runs/${run.id}`)).body;
    for (let looks = 0; !['completed', 'failed'].includes((await outcome()).status) && looks < 100; looks++) await sleep(100);
    return outcome();
  }

  it('an agent uses one that is a public package, as it comes [verifies tools.mcp.programs.public]', async () => {
    const grants = ['--read-only', execPath, '--read-only', packages];
    const words = ['mcp', 'add', 'graph', ...grants, '--env', 'MEMORY_FILE_PATH=/tmp/graph.jsonl', '--', execPath, memoryServer];
    const added = await runNexus(words, { NEXUS_URL: node.url, HOME: folder });
    expect([added.code, added.out]).toEqual([0, expect.stringMatching(/^graph: ready, .*graph_create_entities .*graph_read_graph /s)]);
    await node.call('POST', '/v1/agents', {
      name: 'keeper',
      models: ['sim/sim-large'],
      tools: ['graph_*'],
      policy: { allow: ['graph_*'] },
    });
    const entity = { name: 'Nexus', entityType: 'platform', observations: ['runs survive'] };
    const create = (server: string) => `[[sim tools=${server}_create_entities(entities=${JSON.stringify([entity])})]]`;
    const say = '[[sim say="{{result}}"]]';
    const run = await ran('keeper', `${create('graph')} [[sim tools=graph_read_graph()]] ${say}`);
    expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('runs survive') });
    // What it is given to read it cannot change, and without a place of its own it cannot keep anything.
    await runNexus(['mcp', 'add', 'rigid', ...grants, '--', execPath, memoryServer], { NEXUS_URL: node.url, HOME: folder });
    await node.call('POST', '/v1/agents', { name: 'rigid', models: ['sim/sim-large'], tools: ['rigid_*'], policy: { allow: ['rigid_*'] } });
    const refused = await ran('rigid', `${create('rigid')} ${say}`);
    expect(refused.output).toMatch(/EROFS|EACCES|read-only/i);
  });

  it('that is removed or put anew ends at once, though nobody calls it any more [verifies tools.mcp.programs.end]', async () => {
    const marks = [1, 2].map((number) => `nexus-mcp-gone-${number}-${process.pid}`);
    const put = (of: string | undefined) =>
      runNexus(['mcp', 'add', 'gone', '--read-only', execPath, '--', execPath, '-e', program, String(of)], {
        NEXUS_URL: node.url,
        HOME: folder,
      });
    await node.call('POST', '/v1/agents', { name: 'leaver', models: ['sim/sim-large'], tools: ['gone_*'], policy: { allow: ['gone_*'] } });
    const [first, second] = marks;
    for (const [of, before] of [
      [first, undefined],
      [second, first],
    ]) {
      expect((await put(of)).code).toBe(0);
      if (before !== undefined) await expect.poll(() => left(before), { timeout: 5_000 }).toEqual([]);
      const run = await ran('leaver', '[[sim tools=gone_echo(text="hello")]] [[sim say="{{result}}"]]');
      expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('said hello') });
      expect(left(of).length).toBeGreaterThan(0);
    }
    expect((await runNexus(['mcp', 'remove', 'gone'], { NEXUS_URL: node.url, HOME: folder })).code).toBe(0);
    await expect.poll(() => left(second), { timeout: 5_000 }).toEqual([]);
  }, 60_000);

  it('an agent uses one that was added by the command, and nothing of it outlives a server that is killed [verifies tools.mcp.programs] [verifies tools.mcp.programs.end]', async () => {
    const words = ['mcp', 'add', 'echoes', '--read-only', execPath, '--', execPath, '-e', program, mark];
    const added = await runNexus(words, { NEXUS_URL: node.url, HOME: folder });
    expect([added.code, added.out]).toEqual([0, expect.stringMatching(/^echoes: ready, at .*echo +echoes_echo +ready +once/s)]);

    const { body: tools } = await node.call('GET', '/v1/tools');
    expect(tools.data).toContainEqual(expect.objectContaining({ name: 'echoes_echo', source: 'mcp:echoes', tier: 'T2' }));
    await node.call('POST', '/v1/agents', {
      name: 'speaker',
      models: ['sim/sim-large'],
      tools: ['echoes_*'],
      policy: { allow: ['echoes_*'] },
    });
    const run = await ran('speaker', '[[sim tools=echoes_echo(text="hello")]] [[sim say="{{result}}"]]');
    expect(run).toMatchObject({ status: 'completed', output: expect.stringContaining('said hello') });

    expect(left().length).toBeGreaterThan(0);
    await node.kill();
    for (let looks = 0; left().length > 0 && looks < 50; looks++) await sleep(100);
    expect(left()).toEqual([]);
  }, 60_000);
}
