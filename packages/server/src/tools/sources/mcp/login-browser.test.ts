import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '#core';
import { addGuarded, begin, browse, callbackHost, type Guarded, never, openLogin, startGuarded } from './guarded-server.testkit.ts';
import { createLoginCookies, isLoginCode, makeLoginCode } from './login-browser.ts';
import { renderLoginPage } from './login-page.ts';
import { startServers, type TestServers, tenant } from './servers.testkit.ts';

let guarded: Guarded;
let servers: TestServers;
let now: number;

beforeEach(async () => {
  now = systemClock.now();
  guarded = await startGuarded();
  servers = startServers({ clock: { ...systemClock, now: () => now } });
  await addGuarded(guarded, servers);
});

afterEach(async () => {
  await servers.close();
  await guarded.close();
});

const logins = () => servers.administration.logins;
const begun = () => logins().begin(tenant, 'docs', { by: 'key_1', host: callbackHost }, never);
const ticketOf = (address: string) => new URL(address).searchParams.get('login') ?? '';
/** The page, with what is needed to go on from it. */
async function show(login: string) {
  const shown = await logins().open({ login, page: undefined, code: undefined, cookies: undefined });
  if (shown.type !== 'page') throw new Error('the browser is sent on');
  return { ...shown, page: /name="page" value="([^"]*)"/.exec(shown.html)?.[1], cookies: shown.headers['set-cookie']?.split(';')[0] };
}

describe('the page that a login begins with', () => {
  it('says who wants the account, where it is used and for what, and nothing that would let one go on without it [verifies tools.mcp.oauth.browser]', async () => {
    const { address, code } = await begun();
    expect(new URL(address).pathname).toBe('/v1/mcp-logins/start');
    const { html, headers } = await show(ticketOf(address));
    expect(html).toContain('<h1>Log in to docs?</h1>');
    for (const word of [tenant, 'key_1', `127.0.0.1:${guarded.as.port}`, 'read']) expect(html).toContain(`<b>${word}</b>`);
    expect(html).not.toContain('/authorize');
    expect(html).not.toContain(code);
    expect(headers).toMatchObject({
      'referrer-policy': 'no-referrer',
      'content-security-policy': expect.stringMatching(/frame-ancestors 'none'/),
    });
    expect(headers['set-cookie']).toMatch(/; HttpOnly; SameSite=Strict; Max-Age=60$/);
  });

  it('sends nobody on without the code, without the page, or with the page of another browser [verifies tools.mcp.oauth.browser]', async () => {
    const { address, code } = await begun();
    const login = ticketOf(address);
    const [mine, other] = [await show(login), await show(login)];
    for (const step of [
      { page: mine.page, code: 'AAAA-AAAA', cookies: mine.cookies },
      { page: mine.page, code: undefined, cookies: mine.cookies },
      { page: undefined, code, cookies: undefined }, // as a link would have it
      { page: undefined, code, cookies: mine.cookies },
      { page: mine.page, code, cookies: undefined },
      { page: other.page, code, cookies: mine.cookies },
      { page: '', code, cookies: 'nexus_mcp_page=' },
    ])
      expect(await logins().open({ login, ...step })).toMatchObject({ type: 'page' });
    const typed = await logins().open({ login, page: mine.page, code: ` ${code.toLowerCase().replace('-', ' ')}`, cookies: mine.cookies });
    expect(typed).toMatchObject({ type: 'sent', location: expect.stringMatching(/\/authorize\?/) });
    expect(typed.headers['set-cookie']).toMatch(/; Path=\/; HttpOnly; SameSite=Lax; Max-Age=60$/);
  });

  it('is none for what was made up, is over, or that another one was begun after [verifies tools.mcp.oauth.browser]', async () => {
    const first = await begun();
    const second = await begun();
    const { state } = await browse((await openLogin(logins().open, second)).address);
    for (const login of ['x', ticketOf(first.address), state]) await expect(show(login)).rejects.toMatchObject({ code: 'invalid_request' });
    now += 60_001;
    await expect(show(ticketOf(second.address))).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('holds what it shows as text', () => {
    const evil = { server: '<b>', tenant: '"', by: "'><script>", usedAt: '&', loginAt: 'a', scopes: '</p>' };
    const html = renderLoginPage(evil, { login: '"><script>' }, true);
    expect(html).not.toMatch(/<script|<b><b>|"">/);
    expect(html).toContain('That is not the code.');
  });
});

describe('a browser that comes back', () => {
  it('is believed where the login was begun in it, and is told why else; that spends nothing [verifies tools.mcp.oauth.browser]', async () => {
    const answer = await browse((await begin(servers)).address);
    const own = answer.cookies ?? '';
    const [name = '', value = ''] = own.split('=');
    const { state } = answer;
    for (const cookies of [undefined, '', 'a=b', `${name}=`, `${name}x=${value}`, `${name}=${value.slice(0, -2)}AA`, `${name}=${state}`])
      await expect(logins().finish({ ...answer, cookies })).rejects.toThrow(/not begun in this browser/);
    expect(guarded.as.tokenRequests).toEqual([]);
    expect(await logins().finish({ ...answer, cookies: `a=b; ${own} ; c=d` })).toEqual({ server: 'docs' });
  });

  it('is not believed with what it holds of another login, under whatever name [verifies tools.mcp.oauth.browser]', async () => {
    const theirs = (await begin(servers)).cookies; // of who opened a login of their own
    const answer = await browse((await begin(servers)).address);
    const [name] = (answer.cookies ?? '').split('=');
    const renamed = `${name}=${theirs.split('=')[1]}`;
    for (const cookies of [theirs, renamed])
      await expect(logins().finish({ ...answer, cookies })).rejects.toThrow(/not begun in this browser/);
  });

  it('holds what no other host of the domain can plant, behind https', () => {
    const cookies = createLoginCookies(true, 1_500);
    expect(cookies.page('v')).toBe('__Host-nexus_mcp_page=v; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=2');
    expect(cookies.loginIn(`nexus_mcp_login=x; ${cookies.login('n', 'w').split(';')[0]}`, 'n')).toBe('w');
    expect(cookies.loginIn(cookies.login('n', 'w').replace('__Host-', ''), 'n')).toBeNull();
  });
});

it('a code is eight letters that are told apart by eye, and another one each time', () => {
  const codes = new Set(Array.from({ length: 200 }, makeLoginCode));
  expect(codes.size).toBe(200);
  for (const code of codes) expect(code).toMatch(/^[2-9A-HJKMNP-Z]{4}-[2-9A-HJKMNP-Z]{4}$/);
  expect([isLoginCode('abcd efgh', 'ABCD-EFGH'), isLoginCode('', 'ABCD-EFGH'), isLoginCode('ABCD-EFG', 'ABCD-EFGH')]).toEqual([
    true,
    false,
    false,
  ]);
});
