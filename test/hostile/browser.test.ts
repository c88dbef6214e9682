import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Chromium, findChromium, startChromium } from './support/chromium.ts';
import { pageOf, type Way, ways } from './support/hostile-pages.ts';
import { pause, startVictim, type Victim } from './support/victim.ts';

const found = findChromium();
if ('reason' in found) process.stdout.write(`browser: not tried: ${found.reason}\n`);

const chat = '/v1/agents/chat/stream';
const paths = {
  get: [chat, `${chat}?input=steered&agent=chat`],
  post: [chat, '/v1/sessions'],
};

/** A server that takes everything, which shows that a way reaches one. */
interface Decoy {
  readonly url: string;
  arrivals: number;
  close(): Promise<void>;
}

/** The site of the attacker, under a name of its own and as another program of this machine. */
interface Site {
  readonly port: number;
  /** What the next page shows. */
  show(way: Way, targets: readonly string[]): void;
  readonly done: () => boolean;
  close(): Promise<void>;
}

describe.skipIf('reason' in found)('pages of a hostile site in a real browser', () => {
  let chromium: Chromium;
  let site: Site;
  let decoy: Decoy;
  const victims: Victim[] = [];
  let targets: string[];

  beforeAll(async () => {
    [chromium, site, decoy] = await Promise.all([startChromium('path' in found ? found.path : ''), startSite(), startDecoy()]);
    // The second is as lax as it can be set: every program on the machine is the operator, under any of these names.
    victims.push(await startVictim({ config: { auth: { local: 'token', allowedHosts: ['allowed.test'] } } }));
    victims.push(await startVictim({ config: { auth: { local: 'open', allowedHosts: ['allowed.test', '0.0.0.0'] } } }));
    const hosts = [
      ['localhost', 'allowed.test'],
      ['127.0.0.1', 'localhost', '0.0.0.0', 'allowed.test', 'rebound.test'],
    ];
    targets = victims.flatMap(({ port }, index) => (hosts[index] ?? []).map((host) => `http://${host}:${port}`));
    process.stdout.write(`browser: ${chromium.version}, ${ways.length} ways, ${targets.length} addresses\n`);
  }, 240_000);
  afterAll(async () => {
    await chromium?.close();
    await Promise.all([site?.close(), decoy?.close(), ...victims.map((victim) => victim.close())]);
  });

  for (const name of ['evil.test', 'localhost']) {
    it.each(ways.map((each) => [each.name, each] as const))(
      `from ${name}, start nothing and change nothing by %s [verifies hostile.steer.browser]`,
      async (_, way) => {
        const before = await contents(victims);
        decoy.arrivals = 0;
        site.show(way, [...targets, decoy.url]);
        const close = await chromium.open(`http://${name}:${site.port}/`);
        for (let waited = 0; !site.done() && waited < 4_000; waited += 25) await pause(25);
        await pause(100);
        if (way.mayBeStopped !== true) for (let waited = 0; decoy.arrivals === 0 && waited < 4_000; waited += 25) await pause(25);
        await close();
        expect(await contents(victims)).toEqual(before);
        if (way.mayBeStopped !== true) expect(decoy.arrivals, 'the way reaches a server that takes everything').toBeGreaterThan(0);
      },
    );
  }

  it('start nothing where the address itself is typed, or comes in a mail [verifies hostile.steer.browser]', async () => {
    const before = await contents(victims);
    const closes: (() => Promise<void>)[] = [];
    for (const target of targets)
      for (const path of [...paths.get, `${chat}?`, '/v1/sessions?budget=1']) closes.push(await chromium.open(target + path));
    await pause(1_000);
    await Promise.all(closes.map((close) => close()));
    expect(await contents(victims)).toEqual(before);
  });
});

/** How much of everything a page could make there is: newest first, at most a page. */
async function contents(victims: readonly Victim[]): Promise<unknown> {
  return Promise.all(
    victims.map(async (victim) => {
      const path = join(victim.dataDir, 'local', `${victim.port}.token`);
      const token = existsSync(path) ? /nxl_[\w-]+/.exec(readFileSync(path, 'utf8'))?.[0] : undefined;
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const lists = ['/v1/runs', '/v1/sessions', '/v1/keys', '/v1/agents'].map(async (list) => {
        const answer = await victim.call('GET', list, undefined, headers);
        expect(answer.status, answer.text).toBe(200);
        return `${list} ${answer.body.data.length}`;
      });
      expect(victim.exited()).toBeNull();
      return Promise.all(lists);
    }),
  );
}

async function startSite(): Promise<Site> {
  let shown: { way: Way; targets: readonly string[] } | null = null;
  let done = false;
  const server = createServer((request, response) => {
    const { pathname, search } = new URL(request.url ?? '/', 'http://site.test');
    if (pathname === '/done') done = true;
    const [, status, target = ''] = /^\?(?:(\d+)&)?(.*)$/.exec(search) ?? [];
    if (pathname === '/to') return void response.writeHead(Number(status), { location: decodeURIComponent(target) }).end();
    if (pathname === '/leads') return void html(response, `<meta http-equiv="refresh" content="0;url=${decodeURIComponent(target)}">`);
    if (pathname !== '/' || shown === null) return void response.writeHead(204).end();
    const posts = shown.targets.flatMap((each) => paths.post.map((path) => each + path)).join(' ');
    for (const [header, value] of Object.entries(shown.way.headers ?? {})) response.setHeader(header, value.replace('{posts}', posts));
    html(response, pageOf(shown.way, shown.targets, paths));
  });
  const port = await listen(server, '127.0.0.1');
  return {
    port,
    show(way, targets) {
      shown = { way, targets };
      done = false;
    },
    done: () => done,
    close: () => closed(server),
  };
}

function html(response: import('node:http').ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'text/html' }).end(text);
}

async function startDecoy(): Promise<Decoy> {
  const server = createServer((request: IncomingMessage, response) => {
    decoy.arrivals += 1;
    request.resume();
    response.writeHead(200, { 'access-control-allow-origin': '*', 'content-type': 'text/plain' }).end();
  });
  server.on('upgrade', (_, socket) => {
    decoy.arrivals += 1;
    socket.destroy();
  });
  const port = await listen(server, '127.0.0.1');
  const decoy: Decoy = { url: `http://127.0.0.1:${port}`, arrivals: 0, close: () => closed(server) };
  return decoy;
}

async function listen(server: Server, host: string): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return (server.address() as AddressInfo).port;
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
