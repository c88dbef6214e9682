import { type Mutant, server } from './mutant.ts';

const corsTests = [`${server}/api/http/cors.test.ts`];
const streamTests = [`${server}/api/streams/streams.test.ts`];
const folderTests = [`${server}/apps/definition-folder.test.ts`];
const logTests = [`${server}/apps/log.test.ts`];
const connectionTests = [`${server}/llm/transport/connections.test.ts`];
const proxyTests = [`${server}/llm/transport/proxy.test.ts`];

/** Of what a user or an operator touches first: `api`, `apps`, `cli`, the proxy and the client. */
export const edgeMutants: readonly Mutant[] = [
  {
    bug: 'edge: policies are blind to what a query names',
    file: `${server}/api/http/register.ts`,
    replace: '...(query as Readonly<Record<string, unknown>> | undefined),',
    by: '',
    tests: ['test/e2e/administration.test.ts'],
  },
  {
    bug: 'edge: an EventSource that has seen the end of a run comes back for ever',
    file: `${server}/api/routes/stream.ts`,
    replace: 'cursor.seq >= run.lastSeq',
    by: 'cursor.seq > run.lastSeq',
    tests: streamTests,
  },
  {
    bug: 'edge: a policy that cannot be read is passed over',
    file: `${server}/apps/definition-folder.ts`,
    replace: 'if (lost !== undefined) {',
    by: "if (lost?.why === '') {",
    tests: folderTests,
  },
  {
    bug: 'edge: the credentials of a proxy are sent on to the server behind it',
    file: `${server}/llm/transport/connections.ts`,
    replace: 'pathPrefix: path, headers: {}, forwarder: null }',
    by: 'pathPrefix: path, headers: address === undefined ? {} : proxyAuthorization(new URL(address)), forwarder: null }',
    tests: proxyTests,
  },
  {
    bug: 'edge: an error names a proxy with its password',
    file: `${server}/llm/transport/proxy.ts`,
    replace: ': proxy.host;',
    by: ': proxy.href;',
    tests: proxyTests,
  },
  {
    bug: 'edge: the head of an answer counts as its first byte',
    file: `${server}/llm/transport/http.ts`,
    replace: 'started = true;\n',
    by: 'started = true;\n      waiting.heard();\n',
    tests: [`${server}/llm/transport/http-provider.test.ts`],
  },
  {
    bug: 'edge: a request over which a server failed is sent again under the same reservation',
    file: `${server}/llm/providers/resend.ts`,
    replace: 'details.status >= 500',
    by: 'details.status >= 600',
    tests: [`${server}/llm/providers/resend.test.ts`],
  },
  {
    bug: 'edge: a counter is asked without the query of the address',
    file: `${server}/llm/transport/http.ts`,
    replace: '+ base.search : whole(path)',
    by: ': whole(path)',
    tests: [`${server}/llm/providers/counters.test.ts`],
  },
  {
    bug: 'edge: a call that was left before it was connected is sent all the same',
    file: `${server}/llm/transport/http.ts`,
    replace: 'if (aborted) received.abort(',
    by: 'if (aborted && !settled) received.abort(',
    tests: connectionTests,
  },
  {
    bug: 'edge: a redirect is charged as if it had been worked on',
    file: `${server}/llm/attempt/account.ts`,
    replace: '(status >= 300 && status < 500',
    by: '(status >= 400 && status < 500',
    tests: connectionTests,
  },
  {
    bug: 'edge: the query of a redirect is shown',
    file: `${server}/llm/transport/refusal.ts`,
    replace: 'target.pathname',
    by: 'target.href',
    tests: connectionTests,
  },
  {
    bug: 'edge: a limit in dollars is taken for millionths',
    file: `${server}/core/amounts.ts`,
    replace: "return { unit: 'costMicroUsd', limit: microUsdOf(text) };",
    by: "return { unit: 'costMicroUsd', limit: Math.round(microUsdOf(text) / 1_000_000) };",
    tests: [`${server}/core/amounts.test.ts`],
  },
  {
    bug: 'edge: the log repeats what a provider answered',
    file: `${server}/apps/commit-log.ts`,
    replace: 'attempt, code: error.code, status }',
    by: 'attempt, code: error.code, status, error }',
    tests: logTests,
  },
  {
    bug: 'edge: the port closes as soon as a process drains',
    file: `${server}/api/http/server.ts`,
    replace: 'await Promise.allSettled([drained, answered]);',
    by: 'await answered;',
    tests: logTests,
  },
  {
    bug: 'edge: a page whose origin only ends like a known one is let in',
    file: `${server}/api/http/cors.ts`,
    replace: 'origin !== undefined && allowed.has(origin)',
    by: "origin !== undefined && origins.some((known) => origin.endsWith(known.replace(/^https?:../, '')))",
    tests: corsTests,
  },
  {
    bug: 'edge: a page of another origin is taken for the local operator',
    file: `${server}/api/http/authenticate.ts`,
    replace: "local.mode === 'open' && local.mayBeOperator(headers)",
    by: "local.mode === 'open' && local.mayBeOperator({})",
    tests: corsTests,
  },
  {
    bug: 'edge: a stream on which nothing happens outlasts its key',
    file: `${server}/api/routes/stream.ts`,
    replace: '      while (!(await settlesWithin(timers, next, lookMs))) await requireKey();\n',
    by: '',
    tests: ['test/e2e/administration.test.ts'],
  },
  {
    bug: 'edge: what cuts a page of events off is told nobody',
    file: `${server}/api/routes/journal.ts`,
    replace: 'if (error instanceof NexusError) throw error;',
    by: 'void error;',
    tests: [`${server}/api/routes/journal.test.ts`],
  },
];
