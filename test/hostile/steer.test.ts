import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createNexusClient } from '../../packages/sdk/src/index.ts';
import { databases, startVictim, type Victim } from './support/victim.ts';

const chat = '/v1/agents/chat/stream';
const json = { 'content-type': 'application/json' };

interface Said {
  readonly status: number;
  readonly body: string;
}

/** Exactly these headers, which `fetch` would not let one choose. */
function send(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
  host = '127.0.0.1',
): Promise<Said> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host, port, method, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const tokenFile = (victim: Victim) => join(victim.dataDir, 'local', `${victim.port}.token`);
const tokenOf = (victim: Victim) => /nxl_[\w-]+/.exec(readFileSync(tokenFile(victim), 'utf8'))?.[0] ?? '';

/** What a program prints, or null where the machine has none of that name. */
function run(program: string, args: readonly string[], cwd: string): Promise<{ code: number; out: string } | null> {
  return new Promise((resolve) => {
    execFile(program, args, { cwd, timeout: 60_000, maxBuffer: 50_000_000 }, (error, stdout, stderr) => {
      if (error?.code === 'ENOENT') {
        process.stdout.write(`steer: not tried: there is no ${program} on this machine\n`);
        resolve(null);
      } else resolve({ code: Number(error?.code ?? 0), out: stdout + stderr });
    });
  });
}

describe.each(await databases())('who drives a server on %s', (database) => {
  let victim: Victim;
  let lax: Victim;
  let strict: Victim;
  beforeAll(async () => {
    const allowedHosts = ['allowed.test'];
    [victim, lax, strict] = await Promise.all([
      startVictim({ database, config: { auth: { local: 'token', allowedHosts, allowedOrigins: ['https://console.test'] } } }),
      startVictim({
        database,
        config: {
          auth: { local: 'open', allowedHosts },
          httpFetch: { allowPrivate: ['127.0.0.0/8', '0.0.0.0/0', '::/0', 'localhost', 'any.localhost'] },
        },
      }),
      startVictim({ database, config: { auth: { local: 'none' } } }),
    ]);
  }, 120_000);
  afterAll(() => Promise.all([victim, lax, strict].map((each) => each?.close())));

  const operator = () => ({ authorization: `Bearer ${tokenOf(victim)}` });
  const runsOf = async (of: Victim, headers: Record<string, string> = {}) =>
    (await of.call('GET', '/v1/runs?limit=200', undefined, headers)).body.data.length;

  it('knows its operator by a file that only that user can read, and tells nobody the token [verifies hostile.steer.token]', async () => {
    expect(statSync(tokenFile(victim)).mode & 0o777).toBe(0o600);
    expect(statSync(join(tokenFile(victim), '..')).mode & 0o777).toBe(0o700);
    expect((await victim.call('GET', '/v1/keys', undefined, operator())).status).toBe(200);
    expect(victim.output()).not.toContain(tokenOf(victim).slice(4));
    for (const path of ['/metrics', '/openapi.json', '/docs', '/healthz']) {
      expect((await victim.call('GET', path, undefined, operator())).text).not.toContain(tokenOf(victim).slice(4));
    }
    const before = tokenOf(victim);
    const port = victim.port;
    await victim.restart();
    expect(tokenOf(victim)).not.toBe(before);
    expect((await victim.call('GET', '/v1/keys', undefined, { authorization: `Bearer ${before}` })).status).toBe(401);
    expect(port).toBeGreaterThan(0);
  });

  it('takes no other program for its operator: it reads nothing, names nothing and is told what to do [verifies hostile.steer.visitor]', async () => {
    const refused: [string, string, unknown?][] = [
      ['GET', '/v1/runs'],
      ['GET', '/v1/sessions'],
      ['GET', '/v1/keys'],
      ['GET', '/v1/approvals'],
      ['GET', '/v1/budgets'],
      ['POST', '/v1/keys', { name: 'x', scopes: ['admin'] }],
      ['POST', '/v1/runs', { input: 'x' }],
      ['POST', '/v1/agents', { name: 'x', models: ['sim/sim-large'] }],
      ['POST', '/v1/sessions', { agent: 'chat' }],
      ['POST', '/v1/sessions', { user: 'somebody' }],
      ['POST', chat, { input: 'x', agent: 'chat' }],
      ['POST', chat, { input: 'x', model: 'sim/sim-large' }],
      ['POST', chat, { input: 'x', sessionId: 'ses_01h455vb4pex5vsknk084sn02q' }],
      ['POST', chat, { input: 'x', user: 'somebody' }],
      ['POST', chat, { input: [{ type: 'text', text: 'x' }] }],
    ];
    const before = await runsOf(victim, operator());
    for (const [method, path, body] of refused) {
      const answer = await send(
        victim.port,
        method,
        path,
        body === undefined ? {} : json,
        body === undefined ? undefined : JSON.stringify(body),
      );
      expect(answer.status, `${method} ${path} ${JSON.stringify(body)}`).toBe(401);
      expect(answer.body).toContain(`curl -H @.nexus/local/${victim.port}.token`);
      expect(answer.body).not.toContain(victim.folder);
    }
    for (const wrong of [
      'nxl_',
      `nxl_${'x'.repeat(43)}`,
      tokenOf(victim).slice(0, -1),
      `${tokenOf(victim)}x`,
      tokenOf(victim).toUpperCase(),
    ]) {
      expect((await send(victim.port, 'GET', '/v1/runs', { authorization: `Bearer ${wrong}` })).status, wrong).toBe(401);
    }
    expect(await runsOf(victim, operator())).toBe(before);
  });

  it('answers the lines of its users as they stand, by the real curl and ab [verifies hostile.steer.plan]', async () => {
    const url = `http://localhost:${victim.port}`;
    writeFileSync(join(victim.folder, 'body.json'), '{"budget":{"costMicroUsd":50000}}');
    const curl = (...args: string[]) => run('curl', ['-s', '-S', ...args], victim.folder);
    const session = await curl(
      '-X',
      'POST',
      '-H',
      'Content-Type: application/json',
      '-d',
      '{"budget":{"costMicroUsd":50000}}',
      `${url}/v1/sessions`,
    );
    if (session === null) return;
    expect(JSON.parse(session.out)).toMatchObject({ status: 'active', budget: { limit: { costMicroUsd: 50_000 } } });
    expect((await curl('-N', '-H', 'Accept: text/event-stream', `${url}${chat}`))?.out).toContain('event: run.completed');
    expect((await curl('-X', 'POST', '-H', 'Content-Type: application/json', '-d', '{"input":"hello"}', `${url}${chat}`))?.out).toContain(
      'event: run.completed',
    );
    for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json', '/docs'])
      expect((await curl('-f', url + path))?.code, path).toBe(0);
    expect(JSON.parse((await curl('-H', `@${tokenFile(victim)}`, `${url}/v1/sessions`))?.out ?? '').data.length).toBeGreaterThan(1);
    const posts = await run(
      'ab',
      ['-q', '-n', '1000', '-c', '50', '-p', 'body.json', '-T', 'application/json', `${url}/v1/sessions`],
      victim.folder,
    );
    if (posts === null) return;
    expect(posts.out).toMatch(/Complete requests:\s+1000/);
    expect(posts.out).not.toContain('Non-2xx');
    const streams = await run('ab', ['-q', '-n', '100', '-c', '10', `${url}${chat}`], victim.folder);
    expect(streams?.out).toMatch(/Complete requests:\s+100/);
    expect(streams?.out).not.toContain('Non-2xx');
  });

  const proxied = [
    ...[
      'forwarded',
      'via',
      'x-forwarded-for',
      'x-forwarded-host',
      'x-forwarded-proto',
      'x-forwarded-port',
      'x-forwarded-client-cert',
      'x-forwarded',
    ],
    ...[
      'x-real-ip',
      'x-client-ip',
      'x-cluster-client-ip',
      'x-remote-addr',
      'x-original-url',
      'x-original-forwarded-for',
      'x-original-host',
      'x-envoy-external-address',
    ],
    ...[
      'cf-connecting-ip',
      'cf-ray',
      'cf-visitor',
      'cdn-loop',
      'true-client-ip',
      'client-ip',
      'fly-client-ip',
      'fly-forwarded-proto',
      'fastly-client-ip',
    ],
    ...[
      'x-amzn-trace-id',
      'x-amz-cf-id',
      'x-azure-clientip',
      'x-appengine-user-ip',
      'x-cloud-trace-context',
      'x-vercel-forwarded-for',
      'x-nf-client-connection-ip',
    ],
    ...[
      'tailscale-user-login',
      'ngrok-skip-browser-warning',
      'x-arr-log-id',
      'x-proxy-user',
      'proxy-connection',
      'x-nexus-fetch',
      'max-forwards',
    ],
  ];
  it('takes nothing that a proxy passes on for local, by any header or by none [verifies hostile.steer.proxy]', async () => {
    for (const header of proxied) {
      for (const [method, path, body] of [
        ['GET', chat],
        ['POST', '/v1/sessions', '{}'],
        ['GET', '/v1/runs'],
        ['GET', '/metrics'],
      ] as const) {
        const headers = { [header]: '203.0.113.9', ...(body === undefined ? {} : json) };
        expect((await send(victim.port, method, path, headers, body)).status, `${header} ${path}`).toBe(401);
        expect((await send(lax.port, method, path, headers, body)).status, `${header} ${path}`).toBe(401);
      }
      expect((await send(victim.port, 'GET', '/v1/runs', { ...operator(), [header]: '203.0.113.9' })).status, header).toBe(401);
    }
    // A proxy that says nothing and keeps the name by which it was asked: no operator, and no visitor either.
    for (const host of ['allowed.test', `allowed.test:${victim.port}`]) {
      for (const path of [chat, '/v1/runs', '/v1/keys', '/metrics'])
        expect((await send(victim.port, 'GET', path, { host })).status, path).toBe(401);
    }
    // One that says nothing and asks by a name of this machine: a visitor at most.
    expect((await send(victim.port, 'GET', '/v1/runs', { host: `localhost:${victim.port}` })).status).toBe(401);
  });

  it('demands keys on loopback where that is set [verifies hostile.steer.none]', async () => {
    expect(existsSync(join(strict.dataDir, 'local'))).toBe(false);
    for (const [method, path] of [
      ['GET', chat],
      ['GET', '/v1/runs'],
      ['POST', '/v1/sessions'],
      ['POST', chat],
      ['GET', '/metrics'],
    ] as const) {
      expect((await send(strict.port, method, path, json, method === 'POST' ? '{"input":"x"}' : undefined)).status, path).toBe(401);
    }
    expect((await send(strict.port, 'GET', '/healthz')).status).toBe(200);
  });

  const marks: Record<string, string>[] = [
    { origin: 'http://localhost:1' },
    { 'sec-fetch-mode': 'no-cors' },
    { 'sec-fetch-site': 'none' },
    { 'sec-fetch-dest': 'image' },
    { 'sec-ch-ua': '"x"' },
    { 'sec-purpose': 'prefetch' },
    { purpose: 'prefetch' },
    { 'x-purpose': 'preview' },
    { 'x-moz': 'prefetch' },
    { referer: 'http://evil.test/' },
    { cookie: 'a=b' },
    { dnt: '1' },
    { 'upgrade-insecure-requests': '1' },
    { 'user-agent': 'Mozilla/5.0 (old)' },
    { 'user-agent': 'Opera/9.80' },
    { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' },
    { accept: 'image/avif,image/webp,*/*' },
    { connection: 'upgrade', upgrade: 'websocket' },
    { host: 'allowed.test' },
  ];
  it('starts nothing by GET for what may be a page, and nothing of the caller by any GET [verifies hostile.steer.get]', async () => {
    const before = [await runsOf(victim, operator()), await runsOf(lax)];
    for (const [port, name] of [
      [victim.port, 'token'],
      [lax.port, 'open'],
    ] as const) {
      for (const headers of marks) {
        const { status } = await send(port, 'GET', chat, { host: `localhost:${port}`, ...headers });
        expect([401, 403], `${name} ${JSON.stringify(headers)} ${status}`).toContain(status);
      }
      for (const query of [
        '?input=x',
        '?input=',
        '?',
        '?agent=chat',
        '?INPUT=x',
        '?%69nput=x',
        '?input=x&input=y',
        ';input=x',
        '/?input=x',
      ]) {
        const { status } = await send(port, 'GET', `${chat}${query}`);
        expect([400, 401, 404], `${name} ${query} ${status}`).toContain(status);
      }
      for (const method of ['HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND']) {
        expect(
          (await send(port, method, chat, { 'x-http-method-override': 'POST', 'x-method-override': 'POST' })).status,
          method,
        ).toBeGreaterThanOrEqual(400);
      }
      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
        'text/plain; application/json',
        'application/csp-report',
      ]) {
        const { status } = await send(port, 'POST', chat, { 'content-type': type }, '{"input":"x"}');
        expect([400, 401, 415], `${type} ${status}`).toContain(status);
      }
      expect((await send(port, 'POST', chat, {}, '{"input":"x"}')).status).toBeGreaterThanOrEqual(400);
    }
    expect([await runsOf(victim, operator()), await runsOf(lax)]).toEqual(before);
  });

  it('is never reached by its own tools, whatever is granted [verifies hostile.steer.own-listeners]', async () => {
    const hops = createServer((asked, response) =>
      response.writeHead(302, { location: decodeURIComponent((asked.url ?? '').slice(1)) }).end(),
    );
    await new Promise<void>((resolve) => hops.listen(0, '127.0.0.1', resolve));
    const hop = `http://127.0.0.1:${(hops.address() as AddressInfo).port}/`;
    try {
      await lax.agent('reader');
      const lan = Object.values(networkInterfaces()).flatMap((each) =>
        (each ?? []).filter(({ family }) => family === 'IPv4').map(({ address }) => address),
      );
      const hosts = [
        '127.0.0.1',
        '127.1',
        '2130706433',
        '0x7f000001',
        '0177.0.0.1',
        '127.9.9.9',
        '0.0.0.0',
        '0',
        'localhost',
        'LOCALHOST.',
        '[::1]',
        '[::]',
        '[::ffff:127.0.0.1]',
        '[::ffff:7f00:1]',
        ...lan,
      ];
      const urls = hosts.map((host) => `http://${host}:${lax.port}/v1/runs`);
      urls.push(...urls.slice(0, 3).map((url) => hop + encodeURIComponent(url)));
      const { length } = urls;
      const input = `[[sim tools=${urls.map((url) => `http_fetch(url="${url}")`).join(',')}]] [[sim say="done"]]`;
      const { status, totals } = await lax.end(await lax.start({ agent: 'reader', input }));
      expect(status).toBe('completed');
      expect(totals.toolCalls).toBe(length);
      const { body } = await lax.call('GET', `/v1/sessions?limit=1`);
      const page = await lax.call('GET', `/v1/sessions/${body.data[0].id}/messages?limit=200`);
      expect(page.text).not.toContain('lastSeq');
      expect(page.text.match(/leads to this server itself|is or leads to an address/g)?.length).toBe(length);
    } finally {
      await new Promise((resolve) => hops.close(resolve));
    }
  });

  it('lets the client find the token, and trusts no file that somebody else may have put there [verifies hostile.steer.client]', async () => {
    const folder = join(victim.dataDir, 'local');
    const baseUrl = `http://127.0.0.1:${victim.port}`;
    const asks = (folders: string[], url = baseUrl) =>
      createNexusClient({ baseUrl: url, tokenFolders: folders, retry: { maxAttempts: 1 } }).runs.list();
    await expect(asks([folder])).resolves.toBeDefined();
    const planted = join(victim.folder, 'planted');
    mkdirSync(planted, { mode: 0o700 });
    const path = join(planted, `${victim.port}.token`);
    const text = readFileSync(tokenFile(victim), 'utf8');
    writeFileSync(path, text, { mode: 0o600 });
    await expect(asks([planted])).resolves.toBeDefined();
    chmodSync(path, 0o644);
    await expect(asks([planted]), 'others can read it').rejects.toMatchObject({ code: 'unauthenticated' });
    chmodSync(path, 0o600);
    for (const bad of [
      text.replace(/X-Nexus-Hosts: .*/, 'X-Nexus-Hosts: other'),
      `${text}X-More: 1\n`,
      text.replace('nxl_', 'sk-'),
      '',
      'x'.repeat(5_000),
    ]) {
      writeFileSync(path, bad);
      await expect(asks([planted]), bad.slice(0, 90)).rejects.toMatchObject({ code: 'unauthenticated' });
    }
    const linked = join(victim.folder, 'linked');
    mkdirSync(linked, { mode: 0o700 });
    symlinkSync(tokenFile(victim), join(linked, `${victim.port}.token`));
    await expect(asks([linked]), 'a link').rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('has its token sent to no other address, and to no other program [verifies hostile.steer.client]', async () => {
    const seen: (string | undefined)[] = [];
    const impostor = createServer((asked, response) => {
      seen.push(asked.headers.authorization);
      response.writeHead(401).end();
    });
    await new Promise<void>((resolve) => impostor.listen(0, resolve));
    const { port } = impostor.address() as AddressInfo;
    const lan = Object.values(networkInterfaces()).flatMap((each) =>
      (each ?? []).filter(({ internal, family }) => !internal && family === 'IPv4'),
    )[0]?.address;
    try {
      const folder = join(victim.dataDir, 'local');
      writeFileSync(join(folder, `${port}.token`), readFileSync(tokenFile(victim), 'utf8').replace('localhost', 'other'), { mode: 0o600 });
      for (const host of ['localhost', '127.0.0.2', ...(lan === undefined ? [] : [lan])]) {
        await createNexusClient({ baseUrl: `http://${host}:${port}`, tokenFolders: [folder], retry: { maxAttempts: 1 } })
          .runs.list()
          .catch(() => undefined);
      }
      expect(seen.length).toBeGreaterThanOrEqual(2);
      expect(seen.filter((each) => each !== undefined)).toEqual([]);
    } finally {
      await new Promise((resolve) => impostor.close(resolve));
    }
  });
});
