import { type Mutant, server } from './mutant.ts';

const ownTests = [`${server}/tools/net/own-listeners.test.ts`];
const foundTests = [`${server}/apps/config/found-file.test.ts`];
const localTests = [`${server}/api/http/local.test.ts`];

/** Who drives a server, and what it drives by itself. */
export const steerMutants: readonly Mutant[] = [
  {
    bug: 'steer: any token is the operator',
    file: `${server}/api/http/authenticate.ts`,
    replace: ' && isThisToken(key, local.token)) return',
    by: ') return',
    tests: localTests,
  },
  {
    bug: 'steer: a server is ready before its token can be found',
    file: `${server}/api/server.ts`,
    replace: 'let starting = true;',
    by: 'let starting = false;',
    tests: [`${server}/apps/local-token.test.ts`],
  },
  {
    bug: 'steer: whoever comes over loopback is the operator',
    file: `${server}/api/http/authenticate.ts`,
    replace: "local.mode === 'open' && local.mayBeOperator(headers)",
    by: 'local.mayBeOperator(headers)',
    tests: localTests,
  },
  {
    bug: 'steer: keys are not demanded on loopback although that is set',
    file: `${server}/api/http/authenticate.ts`,
    replace: "if (local.mode === 'token' && route.visitors !== undefined",
    by: "if (local.mode !== 'open' && route.visitors !== undefined",
    tests: localTests,
  },
  {
    bug: 'steer: a proxy is told by a few headers only',
    file: `${server}/api/http/guard.ts`,
    replace: '|cf-.*|',
    by: '|',
    tests: localTests,
  },
  {
    bug: 'steer: old browsers, which send no Sec-Fetch headers, start the greeting',
    file: `${server}/api/http/guard.ts`,
    replace: 'agentsOfBrowsers.test(agent) || ',
    by: '',
    tests: localTests,
  },
  {
    bug: 'steer: a page at an allowed host name, by plain HTTP, starts the greeting',
    file: `${server}/api/http/guard.ts`,
    replace: 'if (!isLoopbackHost(host.toLowerCase()',
    by: "if (host === '' && !isLoopbackHost(host.toLowerCase()",
    tests: localTests,
  },
  {
    bug: 'steer: a GET with a query starts a run',
    file: `${server}/api/routes/chat.ts`,
    replace: 'if (call.hasQuery) {',
    by: "if (call.hasQuery && call.principal.id === '') {",
    tests: [`${server}/api/streams/streams.test.ts`],
  },
  {
    bug: 'steer: a visitor names an agent and a model',
    file: `${server}/api/http/register.ts`,
    replace: 'route.visitors?.safeParse(call.body).success !== true',
    by: 'route.visitors === undefined',
    tests: localTests,
  },
  {
    bug: 'steer: visitors start as many runs as they like',
    file: `${server}/api/routes/visits.ts`,
    replace: 'if (started[kind] >= perMinute[kind]) {',
    by: 'if (started[kind] > Number.MAX_SAFE_INTEGER) {',
    tests: [`${server}/api/routes/visits.test.ts`],
  },
  {
    bug: 'steer: a tool speaks to its own server where only the connection shows that it is',
    file: `${server}/tools/net/egress.ts`,
    replace: "if (!isOwnListener(remoteAddress === localAddress ? '127.0.0.1' : remoteAddress, remotePort))",
    by: 'if (remotePort !== undefined)',
    tests: ownTests,
  },
  {
    bug: 'steer: the other addresses of the machine are not its own',
    file: `${server}/tools/net/own-listeners.ts`,
    replace: 'for (const each of addressesOfMachine())',
    by: 'for (const each of addressesOfMachine().slice(0, 0))',
    tests: ownTests,
  },
  {
    bug: 'steer: the client trusts a token file that others can read',
    file: 'packages/sdk/src/local-token.ts',
    replace: '(about.mode & 0o077) === 0',
    by: 'about.mode > 0',
    tests: localTests,
  },
  {
    bug: 'steer: the client sends its token to a host that the file does not name',
    file: 'packages/sdk/src/local-token.ts',
    replace: "token !== undefined && hosts.split(' ').includes(url.hostname)",
    by: "token !== undefined && hosts !== ''",
    tests: localTests,
  },
  {
    bug: 'steer: a file that was found takes any variable',
    file: `${server}/core/settings/sources.ts`,
    replace: 'if (context.isFound) {',
    by: "if (context.isFound && name === '') {",
    tests: foundTests,
  },
  {
    bug: 'steer: a file that was found leads a key elsewhere',
    file: `${server}/apps/config/found-file.ts`,
    replace: 'if (!ownHosts.test(host)) throw',
    by: "if (host === '') throw",
    tests: foundTests,
  },
  {
    bug: 'steer: a file that was found puts a proxy before the provider',
    file: `${server}/apps/config/found-file.ts`,
    replace: 'for (const key of between) {',
    by: 'for (const key of between.slice(0, 0)) {',
    tests: foundTests,
  },
];
