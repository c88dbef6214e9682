import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { resolveConfig } from '#apps/config';
import { certificate, startSecureServer } from '#llm/testing';
import { checkSetup } from './check-setup.ts';

let folder: string;
let server: Awaited<ReturnType<typeof startSecureServer>>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nexus-test-'));
  await writeFile(join(folder, 'own.pem'), `The authority of this house\n${certificate}`);
  server = await startSecureServer((request, response) => {
    if (request.method === 'GET') return void response.end('{"data":[{"id":"m"}]}');
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end('data: {"choices":[{"delta":{"content":"sent over TLS"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
  });
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

/** In a process of its own: whom a process trusts is the same everywhere in it. */
function run(ca: string, env: Record<string, string> = {}): Promise<string> {
  const config = join(folder, 'nexus.config.yaml');
  const nexus = join(import.meta.dirname, '../../bin/nexus.mjs');
  return writeFile(
    config,
    `${ca}\ndataDir: ${join(folder, 'data')}\nproviders: { compatible: [{ name: own, baseUrl: 'https://localhost:${server.port}/v1', models: [m] }] }\n`,
  ).then(
    () =>
      new Promise((resolve) => {
        const child = spawn(process.execPath, [nexus, '--embedded', '--config', config, 'run', 'hello'], {
          env: { PATH: process.env.PATH ?? '', NO_COLOR: '1', ...env },
        });
        let said = '';
        for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk));
        child.once('close', () => resolve(said));
      }),
  );
}

it('reaches a provider behind an authority of its own by `tls.ca`, and by NODE_EXTRA_CA_CERTS', async () => {
  const own = join(folder, 'own.pem');
  expect(await run('')).toMatch(/own cannot be reached|certificate/i);
  expect(await run(`tls: { ca: ${own} }`)).toContain('sent over TLS');
  expect(await run('', { NODE_EXTRA_CA_CERTS: own })).toContain('sent over TLS');
  expect(await run(`tls: { ca: [${own}] }`, { NODE_EXTRA_CA_CERTS: own })).toContain('sent over TLS');
}, 60_000);

it.each([
  ['is not there', 'none.pem', null, /fail tls\.ca: .*none\.pem cannot be read \(ENOENT\); expected a file of certificates in PEM/],
  ['holds no certificate', 'key.pem', '-----BEGIN PRIVATE KEY-----', /fail tls\.ca: .*key\.pem holds no certificate; expected PEM/],
  [
    'holds a broken one',
    'bad.pem',
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
    /fail tls\.ca: .*bad\.pem holds a certificate that cannot be read/,
  ],
])('says of a file that %s which it is, and what is right', async (_what, name, text, expected) => {
  const path = join(folder, name);
  if (text !== null) await writeFile(path, text);
  const checks = await checkSetup(resolveConfig({ env: {}, flags: { dataDir: join(folder, 'data'), tls: { ca: path } } }));
  const check = checks.find((each) => each.name === 'authorities');
  expect(`${check?.status} ${check?.detail}`).toMatch(expected);
});
