import { afterAll, beforeAll, expect, it } from 'vitest';
import { resolveConfig } from '../../packages/server/src/apps/config/index.ts';
import { checkSetup } from '../../packages/server/src/apps/index.ts';
import { type S3Server, startS3Server } from '../support/s3-server.ts';
import { startTestServer, type TestServer } from './support/server.ts';

let s3: S3Server;
let server: TestServer;
const configOf = ({ url, bucket, region, accessKeyId, secretAccessKey }: S3Server) => ({
  tools: {
    files: { store: 's3' as const, s3: { endpoint: url, bucket, region, accessKeyId, secretAccessKey, prefix: 'p', timeoutMs: 300 } },
  },
});
beforeAll(async () => {
  s3 = await startS3Server();
  server = await startTestServer({ config: configOf(s3) });
  await server.agent('writer');
});
afterAll(async () => {
  await server.verifyRuns();
  await server.close();
  await s3.close();
});

const write = (path: string, content: string) => `[[sim tools=fs_write(path="${path}",content="${content}")]]`;
const read = (path: string) => `[[sim tools=fs_read(path="${path}")]][[sim say="{{result}}"]]`;
const newSession = () => server.session({ agent: 'writer' });

it('files are kept in the bucket, and read back from it, through what it does wrong for a moment [verifies files.blobs]', async () => {
  const sessionId = await newSession();
  s3.fail('PUT', { type: 'status', status: 503 });
  s3.fail('HEAD', { type: 'hang-up' });
  s3.fail('GET', { type: 'cut' });
  const { run } = await server.finish({ sessionId, input: `${write('a.txt', 'through the bucket')}${read('a.txt')}` });
  expect([run.status, run.output]).toEqual(['completed', 'through the bucket']);
  expect([...s3.objects.keys()].filter((key) => key.startsWith('p/default/'))).toHaveLength(1);
  const wrong = await newSession();
  s3.fail('GET', { type: 'wrong' });
  const other = await server.finish({ sessionId: wrong, input: `${write('b.txt', 'not what the server says')}${read('b.txt')}` });
  expect(other.run.output).toBe('not what the server says');
});

it('a bucket that stays away fails the call, says so, and the model can go on', async () => {
  const sessionId = await newSession();
  s3.fail('PUT', { type: 'status', status: 500 }, 4);
  const { run, events } = await server.finish({
    sessionId,
    input: `${write('a.txt', 'lost')}[[sim tools=fs_list()]][[sim say="{{results}}"]]`,
  });
  expect(run.status).toBe('completed');
  const [failed] = events.flatMap((event) => (event.type === 'tool.completed' ? [event.data] : []));
  expect(failed).toMatchObject({
    status: 'error',
    error: { code: 'storage_unavailable', message: expect.stringContaining('not available (500') },
  });
  expect(run.output).toContain('[the folder is empty]');
  expect((await server.call('GET', `/v1/sessions/${sessionId}/files`)).body.data).toEqual([]);
});

it('doctor tries the bucket, and says what is missing or refused', async () => {
  const found = async (s3Changes: Record<string, unknown>) => {
    const { tools } = configOf(s3);
    const config = { ...tools.files.s3, ...s3Changes };
    const checks = await checkSetup(
      resolveConfig({ env: {}, flags: { dataDir: server.app.config.dataDir, tools: { files: { store: 's3', s3: config } } } }),
    );
    const check = checks.find(({ name }) => name === 'session files');
    return `${check?.status} ${check?.detail}`;
  };
  expect(await found({})).toMatch(/^ok kept in the bucket files at 127\.0\.0\.1/);
  expect(await found({ secretAccessKey: 'wrong-secret' })).toMatch(/^fail .*refuses \(403 SignatureDoesNotMatch\); see tools\.files\.s3/);
  expect(await found({ bucket: undefined, accessKeyId: undefined })).toMatch(
    /^fail .*there is no tools\.files\.s3\.bucket, no tools\.files\.s3\.accessKeyId/,
  );
});
