import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTool } from '../../packages/server/src/tools/testing/index.ts';
import { pause, startTestServer, type TestServer } from './support/server.ts';

let server: TestServer;
const gates = new Map<string, () => void>();
const dataDir = mkdtempSync(join(tmpdir(), 'nexus-files-'));
/** Works in its folder, and holds its call until the test lets it go. */
const slow = makeTool({
  name: 'slow_work',
  description: 'Writes a file and waits.',
  inputSchema: { type: 'object' },
  effects: 'idempotent',
  permissions: ['fs.write'],
  async execute(input, { workspace }) {
    writeFileSync(join(workspace, String(input.path)), String(input.content));
    await new Promise<void>((resolve) => gates.set(String(input.path), resolve));
    return { type: 'ok', output: 'worked' };
  },
});
const large = makeTool({
  name: 'make_file',
  description: 'Writes a large file.',
  inputSchema: { type: 'object' },
  effects: 'idempotent',
  permissions: ['fs.write'],
  async execute({ path, size }, { workspace }) {
    writeFileSync(join(workspace, String(path)), 'x'.repeat(Number(size)));
    return { type: 'ok', output: 'made' };
  },
});
beforeAll(async () => {
  server = await startTestServer({ dataDir, tools: [slow, large] });
  await server.agent('writer', { subagents: ['helper'] });
  await server.agent('helper');
});
afterAll(async () => {
  await server.verifyRuns();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const write = (path: string, content: string) => `[[sim tools=fs_write(path="${path}",content="${content}")]]`;
const read = (path: string) => `[[sim tools=fs_read(path="${path}")]][[sim say="{{result}}"]]`;
const newSession = () => server.session({ agent: 'writer' });
const ask = async (sessionId: string, input: string, more: Record<string, unknown> = {}) =>
  (await server.finish({ sessionId, input, ...more })).run;
async function listed(sessionId: string, run?: string): Promise<Record<string, string>> {
  const { status, body } = await server.call('GET', `/v1/sessions/${sessionId}/files${run === undefined ? '' : `?run=${run}`}`);
  expect(status).toBe(200);
  const files: Record<string, string> = {};
  for (const { path } of body.data) {
    const query = new URLSearchParams({ path, ...(run === undefined ? {} : { run }) });
    files[path] = (await server.call('GET', `/v1/sessions/${sessionId}/files/content?${query}`)).body;
  }
  return files;
}

it('what a run wrote is in its journal, is listed with its hash, and can be fetched [verifies files.committed]', async () => {
  const sessionId = await newSession();
  expect(await listed(sessionId)).toEqual({});
  const { run, events } = await server.finish({ sessionId, input: `${write('data/ä b.txt', 'héllo')}[[sim say="done"]]` });
  const sha256 = createHash('sha256').update('héllo').digest('hex');
  const written = events.find((event) => event.type === 'tool.completed');
  expect(written?.data).toMatchObject({ files: { of: sessionId, version: 1, changed: [{ path: 'data/ä b.txt', sha256, bytes: 6 }] } });
  const { body } = await server.call('GET', `/v1/sessions/${sessionId}/files`);
  expect(body).toEqual({
    data: [{ path: 'data/ä b.txt', bytes: 6, sha256, executable: false, runId: run.id, updatedAt: expect.any(String) }],
    nextCursor: null,
  });
  const path = `/v1/sessions/${sessionId}/files/content?path=${encodeURIComponent('data/ä b.txt')}`;
  const content = await server.call('GET', path);
  expect([content.status, content.body]).toEqual([200, 'héllo']);
  expect(Object.fromEntries(content.headers)).toMatchObject({
    'content-type': 'application/octet-stream',
    'content-disposition': `attachment; filename="_ b.txt"; filename*=UTF-8''%C3%A4%20b.txt`,
    'content-security-policy': "sandbox; default-src 'none'",
    'x-content-type-options': 'nosniff',
    'content-length': '6',
    etag: `"${sha256}"`,
  });
  expect((await server.call('GET', path, undefined, { 'if-none-match': `"${sha256}"` })).status).toBe(304);
  const head = await server.call('HEAD', path);
  expect([head.status, head.headers.get('content-length'), head.body]).toEqual([200, '6', '']);
});

it('a file is sent without a warning of Node, which would be a line of the log that is none', async () => {
  const warnings: string[] = [];
  const note = ({ message }: Error) => void warnings.push(message);
  process.on('warning', note);
  try {
    const sessionId = await newSession();
    await ask(sessionId, '[[sim tools=fs_write(path="a.txt",content="x")]] [[sim say="done"]]');
    expect((await server.call('GET', `/v1/sessions/${sessionId}/files/content?path=a.txt`)).status).toBe(200);
    await pause(10);
  } finally {
    process.off('warning', note);
  }
  expect(warnings).toEqual([]);
});

it('a list of files has pages, and what is not there is said', async () => {
  const sessionId = await newSession();
  await ask(sessionId, `[[sim tools=${['a', 'b', 'c'].map((path) => `fs_write(path="${path}",content="x")`).join()}]][[sim say="ok"]]`);
  const first = await server.call('GET', `/v1/sessions/${sessionId}/files?limit=2`);
  const second = await server.call('GET', `/v1/sessions/${sessionId}/files?limit=2&cursor=${first.body.nextCursor}`);
  const paths = [...first.body.data, ...second.body.data].map(({ path }: { path: string }) => path);
  expect([paths, second.body.nextCursor]).toEqual([['a', 'b', 'c'], null]);
  for (const [query, status] of [
    ['files/content?path=missing', 404],
    ['files/content?path=../../etc/passwd', 404],
    ['files/content?path=%00', 400],
    ['files/content', 400],
    ['files?run=run_none', 404],
    ['files?run=%00', 400],
    [`files?run=${(await ask(await newSession(), '[[sim say="other session"]]')).id}`, 404],
    ['files?cursor=nonsense', 400],
  ] as const) {
    expect([query, (await server.call('GET', `/v1/sessions/${sessionId}/${query}`)).status]).toEqual([query, status]);
  }
});

it('content that was damaged is never given as if it were whole [verifies files.blobs]', async () => {
  const sessionId = await newSession();
  const content = 'x'.repeat(300_000);
  await ask(sessionId, `[[sim tools=make_file(path="big",size=300000)]][[sim say="ok"]]`);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const blob = join(dataDir, 'blobs', 'default', sha256.slice(0, 2), sha256);
  const path = `/v1/sessions/${sessionId}/files/content?path=big`;
  expect((await server.call('GET', path)).body).toBe(content);
  writeFileSync(blob, 'y'.repeat(300_000));
  await expect(server.call('GET', path)).rejects.toThrow();
  truncateSync(blob, 0);
  expect(await server.call('GET', path)).toMatchObject({ status: 503, body: { code: 'storage_unavailable' } });
  rmSync(blob);
  expect((await server.call('GET', path)).status).toBe(404);
});

it('a reader that leaves in the middle leaves nothing open', async () => {
  const sessionId = await newSession();
  await ask(sessionId, '[[sim tools=make_file(path="long",size=9000000)]][[sim say="ok"]]');
  const before = readdirSync('/proc/self/fd').length;
  for (let index = 0; index < 20; index++) {
    await new Promise<void>((resolve, reject) => {
      get(`${server.app.url}/v1/sessions/${sessionId}/files/content?path=long`, (response) => {
        response.once('data', () => {
          response.destroy();
          resolve();
        });
      }).on('error', reject);
    });
  }
  await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThan(before + 10);
});

describe('a fork', () => {
  it('begins with the files as of its step, and leaves those of the session alone [verifies files.fork]', async () => {
    const sessionId = await newSession();
    await ask(sessionId, `${write('before', 'b')}[[sim say="ok"]]`);
    const { run, events } = await server.finish({
      sessionId,
      input: `${write('a', '1')}${write('a', '2')}[[sim tools=fs_read(path="a")]][[sim say="a is {{result}}"]]`,
    });
    await ask(sessionId, `${write('a', 'later')}${write('after', 'x')}[[sim say="ok"]]`);
    const ends = events.filter((event) => event.type === 'tool.completed').map(({ seq }) => seq);
    const seen: Record<string, string>[] = [];
    for (const afterSeq of [...ends, events.find((event) => event.type === 'run.created')?.seq]) {
      const { body } = await server.call('POST', `/v1/runs/${run.id}/fork`, { afterSeq, input: '[[sim say="1"]]' });
      await server.until(body.id, 'completed');
      seen.push(await listed(sessionId, body.id));
    }
    expect(seen).toEqual([{ before: 'b', a: '1' }, { before: 'b', a: '2' }, { before: 'b', a: '2' }, { before: 'b' }]);
    expect(await listed(sessionId)).toEqual({ before: 'b', a: 'later', after: 'x' });
  });

  it('writes its own files, as do its sub-agents and its own forks, whose beginning is its own, too [verifies files.fork]', async () => {
    const sessionId = await newSession();
    const { run } = await server.finish({ sessionId, input: `${write('a', 'session')}[[sim say="ok"]]` });
    const task = `${write('from-child', 'c').replaceAll('"', '\\"')}[[sim say=\\"wrote\\"]]`;
    const forked = await server.call('POST', `/v1/runs/${run.id}/fork`, {
      input: `[[sim say="-"]]${write('a', 'fork')}[[sim tools=agent_helper(task="${task}")]][[sim tools=fs_read(path="from-child")]][[sim say="{{result}}"]]`,
    });
    expect((await server.until(forked.body.id, 'completed')).output).toBe('c');
    expect(await listed(sessionId, forked.body.id)).toEqual({ a: 'fork', 'from-child': 'c' });
    expect(await listed(sessionId)).toEqual({ a: 'session' });
    const events = await server.events(forked.body.id);
    const ends = events.filter((event) => event.type === 'tool.completed').map(({ seq }) => seq);
    const states: Record<string, string>[] = [];
    for (const afterSeq of ends) {
      const again = await server.call('POST', `/v1/runs/${forked.body.id}/fork`, { afterSeq, input: '[[sim say="1"]]' });
      await server.until(again.body.id, 'completed');
      states.push(await listed(sessionId, again.body.id));
    }
    // Of the step that was copied, of its own write, of the sub-agent, and of what it read then.
    const both = { a: 'fork', 'from-child': 'c' };
    expect(states).toEqual([{ a: 'session' }, { a: 'fork' }, both, both]);
    expect((await ask(sessionId, read('a'))).output).toBe('session');
  });

  it('of a run that had nothing to do with files has those from before the next one', async () => {
    const sessionId = await newSession();
    await ask(sessionId, `${write('a', '1')}[[sim say="ok"]]`);
    const idle = await ask(sessionId, '[[sim say="idle"]]');
    await ask(sessionId, `${write('a', '2')}[[sim say="ok"]]`);
    const { body } = await server.call('POST', `/v1/runs/${idle.id}/fork`, { input: read('a') });
    expect((await server.until(body.id, 'completed')).output).toBe('1');
  });
});

describe('runs that work in one session at the same time', () => {
  it('share the files: each sees what is committed by then, and of a path the last commit counts [verifies files.committed]', async () => {
    const sessionId = await newSession();
    await ask(sessionId, `${write('shared', 'old')}[[sim say="ok"]]`);
    const work = (path: string, content: string) => `[[sim tools=slow_work(path="${path}",content="${content}")]]`;
    const first = await server.start({ sessionId, input: `${work('shared', 'first')}${read('other')}`, whileBusy: 'parallel' });
    while (!gates.has('shared')) await pause(5);
    const second = await server.start({
      sessionId,
      input: `${write('other', 'mine')}${write('shared', 'second')}[[sim say="ok"]]`,
      whileBusy: 'parallel',
    });
    // A tool that works in the folder has it to itself, so that the other run waits for it in this process.
    await pause(100);
    expect(await listed(sessionId)).toEqual({ shared: 'old' });
    gates.get('shared')?.();
    await Promise.all([server.until(first, 'completed'), server.until(second, 'completed')]);
    expect(await listed(sessionId)).toEqual({ shared: 'second', other: 'mine' });
  });

  it('lose no file to each other when they write many at once', async () => {
    const sessionId = await newSession();
    const runs = await Promise.all(
      Array.from({ length: 6 }, (_, run) => {
        const steps = Array.from({ length: 4 }, (_, step) => write(`${run}/${step}`, `${run}${step}`)).join('');
        return server.start({
          sessionId,
          input: `${steps}[[sim tools=fs_list(recursive=true)]][[sim say="{{result}}"]]`,
          whileBusy: 'parallel',
        });
      }),
    );
    await Promise.all(runs.map((run) => server.until(run, 'completed')));
    const files = await listed(sessionId);
    expect(Object.keys(files)).toHaveLength(24);
    expect(Object.entries(files).every(([path, content]) => path.replace('/', '') === content)).toBe(true);
  });
});

it('a tool that is called directly commits what it writes, and a refused write commits nothing', async () => {
  const sessionId = await newSession();
  const execute = (name: string, input: unknown) => server.call('POST', `/v1/tools/${name}/execute`, { sessionId, input });
  expect((await execute('fs_write', { path: 'direct.txt', content: 'x' })).body).toMatchObject({ status: 'ok' });
  expect((await execute('fs_read', { path: 'direct.txt' })).body).toMatchObject({ status: 'ok', output: 'x' });
  expect((await execute('fs_write', { path: '../out', content: 'x' })).body).toMatchObject({ status: 'error' });
  expect(await listed(sessionId)).toEqual({ 'direct.txt': 'x' });
});

it('files outlive the server, and need no folder of the one before', async () => {
  const own = mkdtempSync(join(tmpdir(), 'nexus-files-'));
  const first = await startTestServer({ dataDir: own });
  await first.agent('writer');
  const sessionId = await first.session({ agent: 'writer' });
  await first.finish({ sessionId, input: `${write('kept', 'yes')}[[sim say="ok"]]` });
  await first.close();
  expect(readdirSync(join(own, 'folders'))).toEqual([]);
  const second = await startTestServer({ dataDir: own });
  const { run } = await second.finish({ sessionId, input: read('kept') });
  expect(run.output).toBe('yes');
  await second.close();
  rmSync(own, { recursive: true, force: true });
});

it('a session whose files an earlier version kept in its folder goes on with them', async () => {
  const sessionId = await newSession();
  const former = join(dataDir, 'workspaces', 'default', sessionId);
  const { mkdir } = await import('node:fs/promises');
  await mkdir(join(former, 'data'), { recursive: true });
  writeFileSync(join(former, 'data', 'old.txt'), 'from before');
  expect((await ask(sessionId, read('data/old.txt'))).output).toBe('from before');
  expect(await listed(sessionId)).toEqual({ 'data/old.txt': 'from before' });
});
