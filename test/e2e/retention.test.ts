import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { execute } from '../support/sql.ts';
import { startTestServer, type TestServer } from './support/server.ts';
import { readStream } from './support/stream.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ config: { retention: { intervalMs: 100, readersMs: 2_000 } } });
  await server.agent('free');
  await server.finish({ agent: 'free', input: 'this one stays' });
});
afterEach(() => server.verifyRuns());
afterAll(() => server.close());

const formerFolderOf = (sessionId: string) => join(server.app.config.dataDir, 'workspaces', 'default', sessionId);

it('deletes a session with everything of it [verifies session.delete]', async () => {
  const sessionId = await server.session({ agent: 'free', user: 'ann' });
  const { run } = await server.finish({ sessionId, input: '[[sim tools=fs_write(path="a.txt",content="x")]] done' });
  const key = { 'idempotency-key': 'made-once' };
  const made = await server.call('POST', '/v1/runs', { sessionId, input: 'again' }, key);
  await server.until(made.body.id, 'completed');
  const outside = join(server.app.config.dataDir, 'kept');
  mkdirSync(outside);
  writeFileSync(join(outside, 'b.txt'), 'kept');
  // Where a version before this one kept the files of sessions.
  mkdirSync(formerFolderOf(sessionId), { recursive: true });
  symlinkSync(outside, join(formerFolderOf(sessionId), 'link'));
  expect((await server.call('GET', `/v1/sessions/${sessionId}/files`)).body.data).toMatchObject([{ path: 'a.txt' }]);
  const usage = await server.call('GET', '/v1/usage?by=user');

  expect((await server.call('DELETE', `/v1/sessions/${sessionId}`)).status).toBe(204);
  for (const path of [
    `/v1/sessions/${sessionId}`,
    `/v1/sessions/${sessionId}/messages`,
    `/v1/runs/${run.id}`,
    `/v1/runs/${run.id}/events`,
  ]) {
    expect(await server.call('GET', path), path).toMatchObject({ status: 404, body: { code: 'not_found' } });
  }
  for (const what of ['fork', 'replay', 'resume', 'cancel'])
    expect(await server.call('POST', `/v1/runs/${run.id}/${what}`), what).toMatchObject({ status: 404 });
  expect(await server.call('POST', '/v1/runs', { sessionId, input: 'x' })).toMatchObject({ status: 404 });
  const repeated = await server.call('POST', '/v1/runs', { sessionId, input: 'again' }, key);
  expect(repeated.status).toBe(404);
  expect((await server.call('GET', `/v1/budgets?scope=session:${sessionId}`)).body.data).toEqual([]);
  expect((await server.call('DELETE', `/v1/sessions/${sessionId}`)).status).toBe(404);
  await expect.poll(() => existsSync(formerFolderOf(sessionId))).toBe(false);
  expect((await server.call('GET', `/v1/sessions/${sessionId}/files`)).status).toBe(404);
  const tree = () => server.app.store.getFileTree('default' as never, sessionId); // it is such an id
  await expect.poll(tree).toBeNull();
  expect(existsSync(join(outside, 'b.txt'))).toBe(true);
  // What was spent stays spent.
  expect((await server.call('GET', '/v1/usage?by=user')).body).toEqual(usage.body);
});

it('deletes a session whose run waits when that has ended, and lets its readers see the end [verifies session.delete]', async () => {
  const sessionId = await server.session({ agent: 'free' });
  const runId = await server.start({ sessionId, input: '[[sim tools=ask_human(question="?")]]' });
  await server.until(runId, 'waiting');
  const read = readStream(`${server.app.url}/v1/runs/${runId}/events`, { headers: { accept: 'text/event-stream' } });
  const deleted = await server.call('DELETE', `/v1/sessions/${sessionId}`);
  expect(deleted).toMatchObject({ status: 202, body: { id: sessionId, status: 'closed' } });
  expect((await read).frames.at(-1)).toMatchObject({ event: 'run.cancelled' });
  await expect.poll(async () => (await server.call('GET', `/v1/sessions/${sessionId}`)).status, { timeout: 5_000 }).toBe(404);
  expect(await server.call('GET', `/v1/runs/${runId}`)).toMatchObject({ status: 404 });
  expect((await server.call('GET', '/v1/approvals?status=pending')).body.data).toEqual([]);
  const log = () => server.app.store.readEvents('default' as never, runId as never, { after: 0, limit: 10 }); // they are such ids
  await expect.poll(async () => (await log()).length, { timeout: 6_000 }).toBe(0);
});

it('deletes an agent that was stored, not while a run of it lives, and leaves its runs readable', async () => {
  await server.agent('passing');
  const sessionId = await server.session({ agent: 'passing' });
  const { run } = await server.finish({ sessionId, input: 'hello' });
  const waiting = await server.start({ agent: 'passing', input: '[[sim tools=ask_human(question="?")]]' });
  await server.until(waiting, 'waiting');
  expect(await server.call('DELETE', '/v1/agents/passing')).toMatchObject({ status: 409, body: { code: 'conflict' } });
  await server.call('POST', `/v1/runs/${waiting}/cancel`);
  await server.until(waiting, 'cancelled');
  expect((await server.call('DELETE', '/v1/agents/passing')).status).toBe(204);
  expect((await server.call('GET', '/v1/agents/passing')).status).toBe(404);
  expect((await server.call('POST', '/v1/runs', { agent: 'passing', input: 'hello' })).status).toBe(404);
  expect((await server.call('GET', '/v1/agents?limit=200')).body.data.map((agent: { name: string }) => agent.name)).not.toContain(
    'passing',
  );
  // A session goes on with the version that it has.
  expect(await server.finish({ sessionId, input: 'hello' })).toMatchObject({ run: { status: 'completed' } });
  expect((await server.call('POST', `/v1/runs/${run.id}/replay`)).body).toMatchObject({ matches: true });
  expect((await server.call('DELETE', '/v1/agents/passing')).status).toBe(404);
  expect(await server.call('DELETE', '/v1/agents/chat')).toMatchObject({ status: 409 });
});

it('says what would go, by kind, and deletes it for who administers', async () => {
  const preview = (await server.call('GET', '/v1/retention')).body.data as { kind: string; keepDays: number; count: number }[];
  expect(preview.map(({ kind, keepDays, count }) => [kind, keepDays, count])).toEqual([
    ['sessions', 90, 0],
    ['decisions', 365, 0],
    ['idempotencyKeys', 7, 0],
    ['reservations', 30, 0],
    ['ledgerEntries', 90, 0],
    ['idleBalances', 90, 0],
    ['contents', 1, 0],
  ]);
  expect(await server.call('POST', '/v1/retention/prune')).toMatchObject({ status: 200, body: { data: expect.any(Array) } });
});

it('removes what the files of a deleted session held a day later, not what another session has [verifies files.contents]', async () => {
  const { dataDir } = server.app.config;
  const kept = () =>
    readdirSync(join(dataDir, 'blobs', 'default'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const write = (path: string, content: string) => `[[sim tools=fs_write(path="${path}",content="${content}")]] done`;
  const before = kept().length;
  const [gone, stays] = [await server.session({ agent: 'free' }), await server.session({ agent: 'free' })];
  for (const sessionId of [gone, stays]) await server.finish({ sessionId, input: write('s.txt', 'both have this') });
  await server.finish({ sessionId: gone, input: write('a.txt', 'first') });
  await server.finish({ sessionId: gone, input: write('a.txt', 'second') });
  expect(kept()).toHaveLength(before + 3);
  await server.call('DELETE', `/v1/sessions/${gone}`);
  await expect.poll(() => server.app.store.getFileTree('default' as never, gone)).toBeNull(); // it is such an id
  expect(kept()).toHaveLength(before + 3);
  await execute({ dataDir }, "update removals set at = at - 86400000 where kind = 'content'");
  // Nothing of the sessions that were deleted before is left either.
  const hash = createHash('sha256').update('both have this').digest('hex');
  await expect.poll(() => kept().map(({ name }) => name)).toEqual([hash]);
  expect((await server.call('GET', `/v1/sessions/${stays}/files/content?path=s.txt`)).body).toBe('both have this');
});
