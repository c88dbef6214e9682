import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let server: Server;
let folder: string;
let url: string;
let seen = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nexus-load-'));
  server = createServer((request, response) => {
    seen += 1;
    response.statusCode = request.url === '/fails' ? 500 : 200;
    response.end('{"status":"ok"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens on a port
});
afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

async function run(thresholds: Record<string, string[]>, { path = '/', options = '', top = '' } = {}) {
  const file = join(folder, `${Math.random()}.mjs`);
  await writeFile(
    file,
    `import { check, sleep } from 'k6';
import http from 'k6/http';
${top}
export const options = { vus: 2, duration: '200ms', ${options} thresholds: ${JSON.stringify(thresholds)} };
export default async function () {
  const answer = await http.asyncRequest('GET', __ENV.NEXUS_URL + ${JSON.stringify(path)}, null, {});
  check(answer, { ok: (given) => given.status === 200 && given.json('status') === 'ok' });
  await sleep(0.02);
}`,
  );
  const args = ['--conditions=nexus-source', '--disable-warning=ExperimentalWarning', 'bench/k6.ts', file, '--url', url, '--own'];
  return new Promise<{ code: number; said: string }>((resolve) => {
    execFile(process.execPath, args, { cwd: join(import.meta.dirname, '../..') }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), said: stdout + stderr }),
    );
  });
}

describe('a load script without k6', () => {
  it('is run, and says by what and with which times [verifies tools.load-script]', async () => {
    const { code, said } = await run({ http_req_duration: ['p(95)<5000'], http_req_failed: ['rate==0'], checks: ['rate==1'] });
    expect(said).toMatch(/^run by: bench\/k6\.ts/);
    expect(said).toMatch(/p50 .* p95 .* p99 /);
    expect(said).toMatch(/errors 0, checks that failed 0/);
    expect(code).toBe(0);
    expect(seen).toBeGreaterThan(2);
  });

  it('fails with 99 where a threshold does not hold [verifies tools.load-script]', async () => {
    expect((await run({ http_req_duration: ['p(95)<0.001'] })).code).toBe(99);
    const failing = await run({ http_req_failed: ['rate==0'], checks: ['rate==1'] }, { path: '/fails' });
    expect(failing.said).toMatch(/BROKEN {2}http_req_failed rate==0/);
    expect(failing.code).toBe(99);
  });

  it('is refused where it wants what only k6 has [verifies tools.load-script]', async () => {
    const refusals = [
      await run({ http_req_duration: ['p(95) is low'] }),
      await run({ made_up: ['rate==0'] }),
      await run({}, { options: 'stages: [],' }),
      await run({}, { top: "import ws from 'k6/ws';" }),
    ];
    const said = [/threshold .* is not understood/, /no metric made_up/, /option stages/, /module k6\/ws/];
    for (const [index, { code, said: text }] of refusals.entries()) {
      expect(text).toMatch(said[index] ?? /^$/);
      expect(code).toBe(1);
    }
  });
});
