import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeTool } from '../../packages/server/src/tools/testing/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { startTestServer, type TestServer } from './support/server.ts';

const secret = 'sk-proj-Ab9Cd8Ef7Gh6Ij5Kl4Mn3Op2Qr1';
const maxBytes = 2_000_000;
const given: Record<string, string> = {
  log: Array.from({ length: 20_000 }, (_, index) => `line ${index + 1}: grüße ${index % 7 === 0 ? 'fault' : 'ok'}`).join('\n'),
  wide: 'ab€😀'.repeat(50_000),
  leak: `${'x'.repeat(64 * 1024 - 9)}${secret}${'y'.repeat(5_000)}`,
  huge: '€'.repeat(17_000_000),
};
const big = makeTool({
  name: 'big',
  inputSchema: { type: 'object', properties: { what: { enum: [...Object.keys(given), 'printed'] } }, required: ['what'] },
  execute: async ({ what }) => ({
    type: 'ok',
    output: what === 'printed' ? { exitCode: 1, stderr: given.log } : (given[String(what)] ?? ''),
  }),
  timeoutMs: 30_000,
});

const postgres = await acquirePostgres();
const databases = 'reason' in postgres ? ['sqlite'] : ['sqlite', 'postgres'];
afterAll(async () => {
  if (!('reason' in postgres)) await postgres.close();
});

describe.each(databases)('artifacts on %s', (database) => {
  let server: TestServer;
  let stranger: Record<string, string>;
  beforeAll(async () => {
    server = await startTestServer({
      tools: [big],
      config: {
        ...(database === 'postgres' && !('reason' in postgres) ? { databaseUrl: postgres.url } : {}),
        providers: { openai: { apiKey: secret } },
        tools: { maxOutputChars: 2_000, artifacts: { maxBytes, maxCount: 2 } },
      },
    });
    await server.agent('worker');
    await server.agent('blind', { tools: ['big'] });
    const { body } = await server.call('POST', '/v1/keys', { name: 'b', tenant: 'b', scopes: ['runs', 'approvals', 'admin'] });
    stranger = { authorization: `Bearer ${body.secret}` };
  });
  afterAll(async () => {
    await server.verifyRuns();
    await server.close();
  });

  const newSession = (agent = 'worker') => server.session({ agent });
  const execute = async (tool: string, sessionId: string, input: object) =>
    (await server.call('POST', `/v1/tools/${tool}/execute`, { sessionId, input })).body;
  async function make(sessionId: string, what: string) {
    const { run, events } = await server.finish({ sessionId, input: `[[sim tools=big(what="${what}")]] [[sim say="done"]]` });
    expect(run.status).toBe('completed');
    const event = events.find(({ type }) => type === 'tool.completed');
    if (event?.type !== 'tool.completed') throw new Error('no result was journalled');
    return { run, data: event.data, artifact: event.data.artifact, id: event.data.artifact?.id ?? '' };
  }

  it('a result that is too long is kept whole, and its model is told how to read on [verifies tools.artifacts.kept]', async () => {
    const sessionId = await newSession();
    const { run, data, artifact, id } = await make(sessionId, 'log');
    const text = given.log ?? '';
    const sha256 = createHash('sha256').update(text).digest('hex');
    const kept = {
      id,
      sha256,
      bytes: Buffer.byteLength(text),
      characters: text.length,
      lines: 20_000,
      mediaType: 'text/plain',
      whole: true,
    };
    expect(artifact).toEqual(kept);
    expect(data.output.length).toBeLessThanOrEqual(2_000);
    expect(data.output).toMatch(new RegExp(`all of it, in 20000 lines, is kept as the artifact ${id}; artifact_read with id ${id} reads`));
    const about = { ...kept, sessionId, runId: run.id, callId: data.callId, tool: 'big', createdAt: expect.any(String) };
    expect((await server.call('GET', `/v1/artifacts/${id}`)).body).toEqual(about);
    expect((await server.call('GET', `/v1/artifacts?sessionId=${sessionId}&runId=${run.id}`)).body).toEqual({
      data: [about],
      nextCursor: null,
    });
    expect((await server.call('GET', '/v1/artifacts?runId=run_none')).body.data).toEqual([]);
    const content = await server.call('GET', `/v1/artifacts/${id}/content`);
    expect([content.status, content.body]).toEqual([200, text]);
    expect(Object.fromEntries(content.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-disposition': `attachment; filename="${id}.txt"; filename*=UTF-8''${id}.txt`,
      'content-security-policy': "sandbox; default-src 'none'",
      'x-content-type-options': 'nosniff',
      etag: `"${sha256}"`,
    });
    expect((await server.call('GET', `/v1/artifacts/${id}/content`, undefined, { 'if-none-match': `"${sha256}"` })).status).toBe(304);
    const blind = await make(await newSession('blind'), 'log');
    expect(blind.data.output).toMatch(/people can read it by the API/);
  });

  it('its parts are read by a later run, by lines, by characters and by what is in them [verifies tools.artifacts.read]', async () => {
    const sessionId = await newSession();
    const { id } = await make(sessionId, 'log');
    const later = await server.finish({
      sessionId,
      input: `[[sim tools=artifact_read(id="${id}",offset=0,limit=6)]] [[sim say="{{result}}"]]`,
    });
    expect(later.run.output).toContain('line 1\n[characters 0 to 5 of ');
    const read = async (input: object) => (await execute('artifact_read', sessionId, { id, ...input })).output;
    expect(await read({ lines: { from: 19_999 } })).toBe(
      'line 19999: grüße ok\nline 20000: grüße fault\n[lines 19999 to 20000 of 20000, the end]',
    );
    const some = await read({ lines: { from: 5 } });
    const next = Number(/go on with line (\d+)\]$/.exec(some)?.[1]);
    expect(some.split('\n')[0]).toBe('line 5: grüße ok');
    expect(await read({ lines: { from: next, to: next } })).toBe(
      `line ${next}: grüße ${(next - 1) % 7 === 0 ? 'fault' : 'ok'}\n[lines ${next} to ${next} of 20000]`,
    );
    const at = (given.log ?? '').indexOf('line 8000:');
    expect(await read({ search: 'LINE 8000:' })).toBe(`8000 (${at}): line 8000: grüße ok`);
    expect(await read({ search: '^line 80{3}: ', regex: true })).toBe(`8000 (${at}): line 8000: grüße ok`);
    expect(await read({ search: 'nothing' })).toBe('[no line contains "nothing"]');
    expect(await read({ search: 'fault' })).toMatch(/\n\[there are more from line \d+ on; search for something rarer\]$/);
    expect(await read({ offset: 99_999_999 })).toMatch(/^\[the artifact has only \d+ characters\]$/);
    expect(await read({ lines: { from: 20_001 } })).toBe('[the artifact has only 20000 lines]');
    expect((await read({})).length).toBeLessThanOrEqual(2_000);
    for (const input of [{ search: 'a', offset: 1 }, { lines: { from: 2, to: 1 } }, { search: '(', regex: true }])
      expect(await execute('artifact_read', sessionId, { id, ...input })).toMatchObject({ error: { code: 'tool_input_invalid' } });
    expect((await execute('artifact_list', sessionId, {})).output).toMatch(
      new RegExp(`^${id} of big, .*: 20000 lines, \\d+ characters, text/plain$`),
    );
  });

  it('what a command printed is read by its lines [verifies tools.artifacts.lines]', async () => {
    const sessionId = await newSession();
    const { id, data } = await make(sessionId, 'printed');
    const [, from = '', to = ''] = /; stderr is in lines (\d+) to (\d+);/.exec(data.output) ?? [];
    const line = async (number: number) =>
      (await execute('artifact_read', sessionId, { id, lines: { from: number, to: number } })).output.split('\n')[0];
    expect([await line(Number(from)), await line(Number(to))]).toEqual(['line 1: grüße fault', 'line 20000: grüße fault']);
  });

  it('a call outside a run keeps its result, too [verifies tools.artifacts.kept tools.artifacts.read]', async () => {
    const sessionId = await newSession();
    const { status, output, artifactId } = await execute('big', sessionId, { what: 'wide' });
    expect([status, output]).toEqual(['ok', expect.stringContaining(`the artifact ${artifactId}; artifact_read`)]);
    expect((await server.call('GET', `/v1/artifacts/${artifactId}/content`)).body).toBe(given.wide);
    const read = await execute('artifact_read', sessionId, { id: artifactId, offset: 4, limit: 4 });
    expect(read.output).toBe('ab€\n[characters 5 to 7 of 250000; go on with offset 8]'); // no half of a pair, at either end
    expect((await execute('artifact_read', sessionId, { id: artifactId, lines: { from: 1 } })).output).toMatch(
      /\[the beginning of line 1, .*; go on with offset 1700\]$/,
    );
  });

  it('holds no secret, and of 50 MB what may be kept, which is said [verifies tools.artifacts.kept]', async () => {
    const sessionId = await newSession();
    const leak = await make(sessionId, 'leak');
    const content: string = (await server.call('GET', `/v1/artifacts/${leak.id}/content`)).body;
    expect(content).toBe((given.leak ?? '').replace(secret, '[redacted]'));
    const huge = await make(sessionId, 'huge');
    expect(huge.artifact).toMatchObject({ bytes: 1_999_998, characters: 666_666, whole: false });
    expect(huge.data.output).toMatch(/of 17000000 characters are shown; only the first 666666 characters .* are kept, the rest is lost/);
    expect((await server.call('GET', `/v1/artifacts/${huge.id}/content`)).body).toBe('€'.repeat(666_666));
    const end = await execute('artifact_read', sessionId, { id: huge.id, offset: 666_660 });
    expect(end.output).toMatch(/^€€€€€€\n\[characters 666660 to 666665 of 666666, the end of what is kept: the result was longer\]$/);
  });

  it('a session that has as many as it may gets results cut, and goes on [verifies tools.artifacts.refused]', async () => {
    const sessionId = await newSession();
    await make(sessionId, 'log');
    const { artifact, data, run } = await make(sessionId, 'wide');
    const third = await make(sessionId, 'log');
    expect([artifact === undefined, third.artifact]).toEqual([false, undefined]);
    expect(third.data).toMatchObject({ status: 'ok', output: expect.stringMatching(/ask for a smaller part to see the rest\]$/) });
    expect(third.data.output).not.toContain('art_');
    expect(data.output.length).toBeLessThanOrEqual(2_000);
    const direct = await execute('big', sessionId, { what: 'log' });
    expect(direct).toMatchObject({ status: 'ok', output: expect.stringMatching(/ask for a smaller part to see the rest\]$/) });
    expect(direct).not.toHaveProperty('artifactId');
    const together = '[[sim tools=big(what="log"),big(what="wide"),big(what="leak")]] [[sim say="done"]]';
    const { events } = await server.finish({ sessionId: await newSession(), input: together });
    expect(events.flatMap((event) => (event.type === 'tool.completed' ? [event.data.artifact !== undefined] : [])).sort()).toEqual([
      false,
      true,
      true,
    ]);
    expect(run.status).toBe('completed');
  });

  it('another session and another tenant find nothing of it [verifies tools.artifacts.read]', async () => {
    const { id } = await make(await newSession(), 'log');
    const other = await newSession();
    expect(await execute('artifact_read', other, { id })).toMatchObject({ status: 'error', error: { code: 'not_found' } });
    expect((await execute('artifact_list', other, {})).output).toBe('[no result of this session is kept as an artifact]');
    for (const path of [`/v1/artifacts/${id}`, `/v1/artifacts/${id}/content`])
      expect([path, (await server.call('GET', path, undefined, stranger)).status]).toEqual([path, 404]);
    expect((await server.call('GET', '/v1/artifacts', undefined, stranger)).body.data).toEqual([]);
    for (const path of ['/v1/artifacts/art_none', '/v1/artifacts/art_01h455vb4pex5vsknk084sn02q'])
      expect([path, (await server.call('GET', path)).status]).toEqual([path, 404]);
  });
});
