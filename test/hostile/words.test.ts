import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databases, startVictim, type Victim } from './support/victim.ts';

const words = (count: number, chars: number) => Array.from({ length: count }, (_, at) => `w${at}${'ab'.repeat(chars)}`.slice(0, chars));

describe('what anybody says to the simulator', () => {
  let victim: Victim;
  beforeAll(async () => {
    victim = await startVictim({ config: { auth: { local: 'token' } } });
  }, 60_000);
  afterAll(() => victim.close());

  it.each([
    ['words that ask for a search', `${'find '.repeat(300)}${'for x '.repeat(3_000)}"" z`],
    ['words that ask for a file', 'write '.repeat(3_300)],
    ['blanks that nothing follows', `a${' '.repeat(19_900)}`],
    ['directives that do not end', '[[sim say={'.repeat(1_800)],
    ['a token of blanks, as often as it may be', `[[sim say="a${' '.repeat(19_000)}b" tokens=100000]]`],
  ])('by a program without a key holds nobody up and ends nothing: %s [verifies hostile.words.simulator]', async (_, input) => {
    const answer = await victim.unmoved(() => victim.call('POST', '/v1/agents/chat/stream', { input }));
    expect(answer.status).toBe(200);
    expect(answer.text).toMatch(/event: run\.(completed|failed)/);
    expect(victim.exited()).toBeNull();
  });

  it('at its own port is not answered to another program [verifies hostile.words.simulator]', async () => {
    if (process.platform !== 'linux') return void process.stderr.write('the ports of a process are told by /proc only\n');
    const ports = portsOf(victim.pid).filter((port) => port !== victim.port);
    expect(ports.length).toBeGreaterThan(0);
    for (const port of ports) expect((await fetch(`http://127.0.0.1:${port}/v1/models`)).status).toBe(401);
  });
});

describe('what a tenant keeps', () => {
  let victim: Victim;
  let key: Record<string, string>;
  beforeAll(async () => {
    victim = await startVictim();
    key = { authorization: `Bearer ${await victim.key(['runs', 'approvals', 'admin'], 'evil')}` };
    const agent = { name: 'any', models: ['sim/sim-large'], tools: ['*'], policy: { allow: ['*'] } };
    expect((await victim.call('POST', '/v1/agents', agent, key)).status).toBe(201);
  }, 60_000);
  afterAll(() => victim.close());

  it('names that nothing has are told in a moment, however many and long [verifies hostile.words.dear]', async () => {
    const models = { name: 'wrong', models: words(8, 190), policy: { allow: words(200, 190).map((word) => `model:${word}`) } };
    const tools = {
      name: 'wrong',
      subagents: words(20, 63),
      policy: { allow: words(200, 95), approve: words(200, 95), deny: words(200, 95) },
    };
    for (const definition of [models, tools]) {
      const answer = await victim.unmoved(() => victim.call('POST', '/v1/agents', definition, key));
      expect(answer.status).toBe(201);
      expect(answer.body.warnings.length).toBeLessThan(70);
    }
  });

  it('large definitions are listed some at a time, and not read to say that one is not there [verifies hostile.words.pages]', async () => {
    for (let index = 0; index < 120; index++) {
      const answer = await victim.call('POST', '/v1/agents', { name: `large${index}`, instructions: 'y'.repeat(100_000) }, key);
      expect(answer.status).toBe(201);
    }
    await victim.unmoved(async () => {
      expect((await victim.call('GET', '/v1/agents/lagre1', undefined, key)).text).toContain('did you mean');
      const page = await victim.call('GET', '/v1/agents?limit=200', undefined, key);
      expect(page.text.length).toBeLessThan(10_000_000);
      expect(page.body.nextCursor).not.toBeNull();
    });
  });

  it('long conversations are told some runs at a time, none of them left out [verifies hostile.words.pages]', async () => {
    const sessionId = (await victim.call('POST', '/v1/sessions', { agent: 'any' }, key)).body.id;
    const input = [{ type: 'image', mediaType: 'image/png', data: { base64: 'A'.repeat(900_000) } }];
    const runs: string[] = [];
    for (let index = 0; index < 12; index++) {
      runs.push(await victim.start({ sessionId, input }, key));
      await victim.end(runs.at(-1) ?? '', key);
    }
    const told = new Set<string>();
    let pages = 0;
    await victim.unmoved(async () => {
      for (let cursor: string | null = ''; cursor !== null; ) {
        const path = `/v1/sessions/${sessionId}/messages?limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`;
        const page = await victim.call('GET', path, undefined, key);
        expect(page.text.length).toBeLessThan(6_000_000);
        pages += 1;
        for (const message of page.body.data) told.add(message.runId);
        cursor = page.body.nextCursor;
      }
    });
    expect(pages).toBeGreaterThan(2);
    expect([...told].sort()).toEqual([...runs].sort());
  });

  it('many runs that wait in one session hold nobody up [verifies hostile.words.dear]', async () => {
    const slow = { name: 'slow', models: ['sim/sim-large?latencyMs=600000'] };
    expect((await victim.call('POST', '/v1/agents', slow, key)).status).toBe(201);
    const sessionId = (await victim.call('POST', '/v1/sessions', { agent: 'slow' }, key)).body.id;
    const start = () => victim.call('POST', '/v1/runs', { sessionId, input: 'x' }, key);
    const statuses = new Set<number>();
    await victim.unmoved(async () => {
      for (let round = 0; round < 10; round++)
        for (const { status } of await Promise.all(Array.from({ length: 40 }, start))) statuses.add(status);
    });
    expect([...statuses].sort()).toEqual([202, 409]);
    expect((await victim.call('DELETE', `/v1/sessions/${sessionId}`, undefined, key)).status).toBeLessThan(300);
  });

  it('a text that a search finds late holds nobody up [verifies hostile.words.dear]', async () => {
    const sessionId = (await victim.call('POST', '/v1/sessions', { agent: 'any' }, key)).body.id;
    const execute = (tool: string, input: object) => victim.call('POST', `/v1/tools/${tool}/execute`, { sessionId, input }, key);
    const content = `${'a'.repeat(65_000)}\n`.repeat(50);
    expect((await execute('fs_write', { path: 'a.txt', content })).body.status).toBe('ok');
    const query = `${'a'.repeat(500)}b${'a'.repeat(499)}`;
    const answers = await victim.unmoved(() =>
      Promise.all(Array.from({ length: 20 }, () => execute('fs_search', { query, caseSensitive: true }))),
    );
    for (const { body } of answers) expect(body.output).toContain('no line contains');
  });
});

for (const database of await databases()) {
  it(`ids and numbers that no column holds are answered on ${database} [verifies hostile.words.stored]`, async () => {
    const victim = await startVictim({ database });
    const run = await victim.start({ input: 'hello' });
    await victim.end(run);
    const limit = (kind: string, id: string) => victim.call('PUT', '/v1/budgets', { scope: { kind, id }, unit: 'tokens', limit: 5 });
    for (const id of ['\u0000', 'a\u0000b', '\ud800']) {
      const answers = [
        await victim.call('POST', '/v1/runs', { input: 'x', sessionId: id }),
        await victim.call('POST', '/v1/tools/fs_list/execute', { sessionId: id, input: {} }),
        ...(await Promise.all(['session', 'run', 'agent', 'user', 'project'].map((kind) => limit(kind, id)))),
      ];
      for (const { status, text } of answers) expect([400, 404], text).toContain(status);
    }
    for (const after of ['999999999999', '2147483648']) {
      const page = await victim.call('GET', `/v1/runs/${run}/events?after=${after}`);
      expect(page.body, page.text).toEqual({ data: [], nextCursor: null });
    }
    await victim.close();
  });
}

/** Ports at which a process listens. */
function portsOf(pid: number): number[] {
  const own = new Set<string>();
  for (const file of readdirSync(`/proc/${pid}/fd`)) {
    const [, inode] = /^socket:\[(\d+)\]$/.exec(readLink(`/proc/${pid}/fd/${file}`)) ?? [];
    if (inode !== undefined) own.add(inode);
  }
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A' && own.has(fields[9] ?? ''))
    .map((fields) => Number.parseInt(fields[1]?.split(':')[1] ?? '', 16));
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
