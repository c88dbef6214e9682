import { request } from 'node:http';
import { createNexusClient } from '@nexus-agent/sdk';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { type Guarded, openLoginAt, startGuarded, toolOf } from '#tools/sources/testing';
import { runCli } from './cli.testkit.ts';

let guarded: Guarded;
let platform: TestPlatform;

beforeEach(async () => {
  guarded = await startGuarded();
  guarded.mcp.tools = [toolOf('whoami')];
  platform = await startTestPlatform({ config: { mcpClient: { allowPrivate: ['127.0.0.1'] } } });
});

afterEach(async () => {
  await platform.close();
  await guarded.close();
});

const nexus = (...words: string[]) => runCli(words, { env: { NEXUS_URL: platform.url } });
/** As a browser comes from a page of the authorization server. */
const fromPage = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };

/** `fetch` says itself how it fetches. */
function visit(url: string, headers: Record<string, string> = fromPage, method = 'GET') {
  return new Promise<{ status: number; headers: Record<string, unknown>; text: string }>((resolve, reject) => {
    const asked = request(url, { method, headers }, async (answer) => {
      let text = '';
      for await (const piece of answer) text += String(piece);
      resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text });
    });
    asked.on('error', reject).end();
  });
}
const backOf = async (address: string) => (await fetch(address, { redirect: 'manual' })).headers.get('location') ?? '';
/** Opens it, types the code, and comes back with what the browser holds. */
async function comeBack(begun: { readonly address: string; readonly code: string }): Promise<[string, Record<string, string>]> {
  const { address, cookies } = await openLoginAt(begun);
  return [await backOf(address), { ...fromPage, cookie: cookies }];
}

describe('a person at a terminal and a browser', () => {
  it('adds a server, logs in, approves, and has agents use it; nothing of the token is anywhere [verifies tools.mcp.oauth.login] [verifies tools.mcp.oauth.hidden]', async () => {
    const added = await nexus('mcp', 'add', 'docs', guarded.mcp.url, '--oauth');
    expect(added.out).toMatch(/needs login: nexus mcp login docs/);
    expect((await nexus('mcp', 'list')).out).toMatch(/docs +needs login/);
    const [address = '', code = ''] = (await nexus('mcp', 'login', 'docs', '--no-wait')).out.trim().split('\ncode: ');
    const [back, headers] = await comeBack({ address, code });
    expect(back.startsWith(`${platform.url}/v1/mcp-logins/callback?`)).toBe(true);
    const answer = await visit(back, headers);
    expect([answer.status, answer.headers['content-type'], answer.headers['cache-control']]).toEqual([
      ...[200, expect.stringContaining('text/plain'), 'no-store'],
    ]);
    expect(answer.text).toBe('You are logged in to the MCP server docs. You can close this page.\n');
    expect((await visit(back, headers)).status).toBe(400);
    expect((await nexus('mcp', 'approve', 'docs')).out).toMatch(/^docs: ready, .*\nlogged in, for read\n/);

    await platform.agent('reader', { tools: ['docs_*'], policy: { allow: ['docs_*', 'net:127.0.0.1'] } });
    const runId = await platform.complete({ agent: 'reader', input: '[[sim tools=docs_whoami()]] [[sim say="{{result}}"]]' });
    const events = await platform.events(runId);
    expect(events.flatMap((event) => (event.type === 'tool.completed' ? [event.data.output] : []))).toEqual(['you are [redacted]']);
    const client = createNexusClient({ baseUrl: platform.url });
    const shown = [
      events,
      platform.logs,
      await client.mcpServers.list(),
      await client.mcpServers.loginState('docs'),
      await client.mcpServers.inspect('docs'),
    ];
    const text = JSON.stringify(shown) + (await (await fetch(`${platform.url}/metrics`)).text());
    for (const token of [...guarded.as.access.keys(), ...guarded.as.refresh.keys()]) expect(text).not.toContain(token.slice(0, 24));

    expect((await nexus('mcp', 'logout', 'docs')).out).toBe('docs is logged out\n');
    expect(guarded.as.revoked).toHaveLength(1);
    const after = await platform.complete({ agent: 'reader', input: '[[sim tools=docs_whoami()]] [[sim say="{{result}}"]]' });
    const failed = (await platform.events(after)).flatMap((event) => (event.type === 'tool.completed' ? [event.data.error] : []));
    expect(failed).toMatchObject([{ code: 'login_required', message: expect.stringMatching(/nexus mcp login docs/) }]);
  });

  it('waits in the terminal until the browser is back [verifies tools.mcp.oauth.login]', async () => {
    await nexus('mcp', 'add', 'docs', guarded.mcp.url, '--oauth', '--scope', 'read');
    const waiting = nexus('mcp', 'login', 'docs', '--timeout', '15000');
    const before = guarded.as.registrations.length;
    for (let looks = 0; guarded.as.registrations.length === before && looks < 100; looks++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    const client = createNexusClient({ baseUrl: platform.url });
    expect((await visit(...(await comeBack(await client.mcpServers.login('docs'))))).status).toBe(200);
    expect((await waiting).out).toMatch(/^logged in, for read\n/);
    const late = await nexus('mcp', 'login', 'docs', '--timeout', '1');
    expect([late.code === 0, late.err]).toEqual([false, expect.stringMatching(/nobody has logged in/)]);
  });
});

describe('the way back of a browser', () => {
  it('is that of who began the login: whoever was sent the address of the authorization server gives nothing away [verifies tools.mcp.oauth.browser]', async () => {
    await nexus('mcp', 'add', 'docs', guarded.mcp.url, '--oauth');
    const client = createNexusClient({ baseUrl: platform.url });
    const begun = await client.mcpServers.login('docs');
    expect((await visit(begun.address)).headers['content-type']).toMatch(/^text\/html/); // from a message, or another page
    const { address, cookies } = await openLoginAt(begun); // an attacker's browser; the victim is sent the rest
    const back = await backOf(address);
    const victim = await visit(back);
    expect([victim.status, victim.text]).toEqual([400, expect.stringMatching(/not begun in this browser/)]);
    expect(await client.mcpServers.loginState('docs')).toMatchObject({ state: 'needed' });
    const link = new URL(begun.address);
    link.searchParams.set('code', begun.code); // all that an attacker knows, in a link
    expect((await visit(link.href)).status).toBe(200); // the page, which says who wants the account
    expect((await visit(link.href, { ...fromPage, 'sec-fetch-dest': 'iframe' })).status).toBe(403);
    expect((await visit(back, { ...fromPage, cookie: cookies })).status).toBe(200);
  });

  it('is open to navigations of other sites, and nothing else of theirs is [verifies tools.mcp.oauth.login]', async () => {
    const status = async (headers: Record<string, string>, path = '/v1/mcp-logins/callback?state=x', method = 'GET') =>
      (await visit(`${platform.url}${path}`, headers, method)).status;
    expect(await status(fromPage)).toBe(400); // looked at, and no login
    expect(await status({ ...fromPage, 'sec-fetch-dest': 'iframe' })).toBe(403);
    expect(await status({ ...fromPage, 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' })).toBe(403);
    expect(await status(fromPage, '/v1/runs')).toBe(403);
    expect(await status({}, '/v1/mcp-logins/callback?state=x', 'HEAD')).toBe(405);
    expect(await status({}, '/v1/mcp-logins/callback')).toBe(400);
    expect(await status({}, '/v1/mcp-logins/client.json')).toBe(404);
  });

  it('is begun by administrators only [verifies tools.mcp.oauth.login]', async () => {
    await nexus('mcp', 'add', 'docs', guarded.mcp.url, '--oauth');
    const headers = { authorization: `Bearer ${await platform.key(['runs'])}` };
    for (const [method, path] of [
      ['POST', 'login'],
      ['GET', 'login'],
      ['POST', 'logout'],
    ] as const)
      expect((await fetch(`${platform.url}/v1/mcp-servers/docs/${path}`, { method, headers })).status).toBe(403);
  });
});
