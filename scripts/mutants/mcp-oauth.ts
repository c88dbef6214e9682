import { type Mutant, server } from './mutant.ts';

const mcp = `${server}/tools/sources/mcp`;
const tests = [`${mcp}/oauth.test.ts`];
const hostileTests = [`${mcp}/oauth-hostile.test.ts`];
const [logins, grants, oauth, seal] = ['logins', 'oauth-grants', 'oauth', 'oauth-seal'].map((name) => `${mcp}/${name}.ts`) as [
  string,
  string,
  string,
  string,
]; // four in, four out
const renewal = `${mcp}/oauth-renewal.ts`;
const [client, http, reach] = ['oauth-client', 'oauth-fetch', 'reach'].map((name) => `${mcp}/${name}.ts`) as [string, string, string];

/** Of logins to MCP servers, and of their tokens. */
export const mcpOAuthMutants: readonly Mutant[] = [
  {
    bug: 'oauth: any login that was begun is ended by any state of this server',
    file: logins,
    replace:
      'if (given.length !== kept.length || !timingSafeEqual(given, kept) || login.by !== by || login.place !== key.place) throw notOurs();',
    by: 'if (given.length !== kept.length || login.by !== by || login.place !== key.place) throw notOurs();',
    tests,
  },
  {
    bug: 'oauth: a login is ended as often as somebody comes back',
    file: logins,
    replace: 'if (!(await oauth.grants.take(key, version)) || login.expiresAt <= clock.now()) throw notOurs();',
    by: 'if (login.expiresAt <= clock.now()) throw notOurs();',
    tests,
  },
  {
    bug: 'oauth: a login can be ended for ever',
    file: logins,
    replace: 'if (!(await oauth.grants.take(key, version)) || login.expiresAt <= clock.now()) throw notOurs();',
    by: 'if (!(await oauth.grants.take(key, version))) throw notOurs();',
    tests,
  },
  {
    bug: 'oauth: who looks whether a host is this machine looks at its beginning',
    file: logins,
    replace: '(:\\d{1,5})$/.test(host))',
    by: '/.test(host))',
    tests,
  },
  {
    bug: 'oauth: what is sealed for one is opened for everybody',
    file: seal,
    replace: 'const bound = (purpose: readonly string[]) => Buffer.from(JSON.stringify([form, ...purpose]));',
    by: 'const bound = (_purpose: readonly string[]) => Buffer.from(JSON.stringify([form]));',
    tests,
  },
  {
    bug: 'oauth: a token goes on being shown when the address is another one',
    file: grants,
    replace: '    return grant?.place === place ? grant : null;',
    by: '    return place === null ? null : grant;',
    tests: [...tests, ...hostileTests],
  },
  {
    bug: 'oauth: everybody renews who comes',
    file: grants,
    replace: 'if (heldUntil === null || heldUntil <= clock.now()) {',
    by: 'if (heldUntil === null || heldUntil > 0) {',
    tests,
  },
  {
    bug: 'oauth: what another one has renewed is renewed again',
    file: grants,
    replace: '        if (grant !== null && isNew(grant)) return grant;',
    by: '',
    tests,
  },
  {
    bug: 'oauth: a renewal brings back a login that was ended',
    file: grants,
    replace: '      if (await settle(made)) return made;',
    by: '      if (await settle(made)) return made;\n      if ((await store.swapMcpGrant(await rowOf(tenantId, name, "grant", made), null))) return made;',
    tests,
  },
  {
    bug: 'oauth: after a renewal that failed the others wait until its time is over',
    file: grants,
    replace: '        await settle(held.grant); // the others need not wait until it is over by itself',
    by: '',
    tests: hostileTests,
  },
  {
    bug: 'oauth: a login is given up when its authorization server is away',
    file: renewal,
    replace: "if (error instanceof NexusError && error.details?.reason === 'login') return",
    by: 'if (error instanceof NexusError) return',
    tests,
  },
  {
    bug: 'oauth: a server that refuses each token has one made for each call',
    file: oauth,
    replace: 'if (grant?.tokens?.accessToken === refused && age < freshMs) {',
    by: 'if (grant?.tokens?.accessToken === refused && age < 0) {',
    tests: hostileTests,
  },
  {
    bug: 'oauth: the token is in what the server says',
    file: reach,
    replace: 'return { ...hidden.within(connection), close:',
    by: 'return { ...connection, close:',
    tests,
  },
  {
    bug: 'oauth: PKCE may be unknown',
    file: client,
    replace: '      requireProofKeys(state);',
    by: '',
    tests: hostileTests,
  },
  {
    bug: 'oauth: a token of any type is shown as a bearer',
    file: client,
    replace: "if (token_type.toLowerCase() !== 'bearer')",
    by: "if (token_type === '')",
    tests: hostileTests,
  },
  {
    bug: 'oauth: what was refused is taken as not there',
    file: http,
    replace: 'if (refusal !== undefined) throw refusal; // nothing more is asked, or said, after that',
    by: '',
    tests: hostileTests,
  },
  {
    bug: 'oauth: the secret goes to whatever endpoint is named',
    file: http,
    replace: "if (method !== 'GET' && secretHosts !== null && !secretHosts.includes(hostnameOf(url)))",
    by: "if (method === 'PUT' && secretHosts !== null && !secretHosts.includes(hostnameOf(url)))",
    tests,
  },
  {
    bug: 'oauth: tokens are asked for in the open',
    file: http,
    replace: "if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback && allowPrivate?.(hostname, port) === true))",
    by: "if (url.protocol !== 'https:' && url.protocol !== 'http:')",
    tests: hostileTests,
  },
  {
    bug: 'oauth: pages may send browsers anywhere',
    file: `${server}/api/http/guard.ts`,
    replace: "if (fromSites && headers['sec-fetch-mode'] === 'navigate'",
    by: "if (headers['sec-fetch-mode'] === 'navigate'",
    tests: [`${server}/cli/mcp-logins.test.ts`],
  },
];
