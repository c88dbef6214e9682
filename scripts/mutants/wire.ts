import { type Mutant, server } from './mutant.ts';

const remoteTests = [`${server}/tools/wire/remote.test.ts`];
const serverTests = [`${server}/tools/wire/server.test.ts`];
const elsewhereTests = [`${server}/tools/wire/elsewhere.test.ts`];
const messageTests = [`${server}/tools/wire/messages.test.ts`];

/** Of the tools over gRPC. */
export const wireMutants: readonly Mutant[] = [
  {
    bug: 'a lost call of a tool that may not be repeated is one to be tried again',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: "this.#connection.effectsOf(this.#call) === 'once'",
    by: 'false',
    tests: remoteTests,
  },
  {
    bug: 'a tool that nobody listed counts as one that may be repeated',
    file: `${server}/tools/wire/client.ts`,
    replace: "?.effects ?? 'once'",
    by: "?.effects ?? 'none'",
    tests: remoteTests,
  },
  {
    bug: 'an agent core that is away has no tools',
    file: `${server}/tools/wire/client.ts`,
    replace: 'if (!passes(listed) || last === undefined) throw listed;',
    by: 'if (!passes(listed) || last === undefined) return [];',
    tests: remoteTests,
  },
  {
    bug: 'the beginning of a token is enough',
    file: `${server}/tools/wire/gate.ts`,
    replace: "digest(presented.replace(/^bearer /i, 'bearer '))",
    by: "digest(presented.slice(0, 7 + token.length).replace(/^bearer /i, 'bearer '))",
    tests: remoteTests,
  },
  {
    bug: 'calls that run do not count against the limit',
    file: `${server}/tools/wire/gate.ts`,
    replace: 'return calls < maxCalls',
    by: 'return calls < maxCalls + 1',
    tests: remoteTests,
  },
  {
    bug: 'an agent core that drains takes calls',
    file: `${server}/tools/wire/server.ts`,
    replace: '      draining = true;',
    by: '      draining = false;',
    tests: remoteTests,
  },
  {
    bug: 'files of another session are committed where an agent core says so',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: 'part !== undefined && !isForeign',
    by: 'part !== undefined',
    tests: remoteTests,
  },
  {
    bug: 'a tool goes on when its caller has left the stream',
    file: `${server}/tools/wire/serve-call.ts`,
    replace: "  stream.on('cancelled', gone);\n",
    by: '',
    tests: serverTests,
  },
  {
    bug: 'parts are written faster than they are read',
    file: `${server}/tools/wire/serve-call.ts`,
    replace: 'settle(error === null || error === undefined));',
    by: 'settle(error === null || error === undefined));\n    settle(true);',
    tests: serverTests,
  },
  {
    bug: 'an answer without a verdict allows',
    file: `${server}/tools/wire/messages.ts`,
    replace: 'if (!allowed || denied) return',
    by: 'if (denied) return',
    tests: messageTests,
  },
  {
    bug: 'an id may lead out of a folder',
    file: `${server}/tools/wire/messages.ts`,
    replace: '/^\\w[\\w.:@-]{0,199}$/',
    by: '/^[\\w./:@-]{0,200}$/',
    tests: messageTests,
  },
  {
    bug: 'wire: code whose agent core is lost fails, after its calls were made',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: 'if (this.#isSentAgain(this.#status)) return;',
    by: '',
    tests: elsewhereTests,
  },
  {
    bug: 'wire: code that ends its agent core does so for ever',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: 'this.#sentAgain >= maxSentAgain || ',
    by: '',
    tests: elsewhereTests,
  },
  {
    bug: 'wire: code with effects is sent again',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: "&& this.#connection.effectsOf(this.#call) === 'none'",
    by: '',
    tests: elsewhereTests,
  },
  {
    bug: 'wire: code that is sent again has all of its time anew',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: 'Math.max(1, this.#call.timeoutMs - this.#tookMs())',
    by: 'this.#call.timeoutMs',
    tests: elsewhereTests,
  },
  {
    bug: 'wire: every call is sent again',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: '(calling !== undefined || resume !== undefined) && ',
    by: '',
    tests: elsewhereTests,
  },
  {
    bug: 'wire: a frozen agent core is waited for',
    file: `${server}/tools/wire/client.ts`,
    replace: "'grpc.keepalive_time_ms': keepaliveMs,",
    by: "'grpc.keepalive_time_ms': 600_000,",
    tests: elsewhereTests,
  },
  {
    bug: 'wire: the metrics are for everybody',
    file: `${server}/apps/core-watch.ts`,
    replace: 'requireReader(options, request);',
    by: '',
    tests: ['test/e2e/agent-core-watch.test.ts'],
  },
  {
    bug: 'wire: any certificate reads the metrics',
    file: `${server}/apps/core-watch.ts`,
    replace: '!(socket instanceof TLSSocket && socket.authorized)',
    by: '!(socket instanceof TLSSocket)',
    tests: ['test/e2e/agent-core-watch.test.ts'],
  },
  {
    bug: 'wire: an agent core that drains says that it is ready',
    file: `${server}/apps/agent-core.ts`,
    replace: 'state.isOpen = false;',
    by: '',
    tests: ['test/e2e/agent-core-watch.test.ts'],
  },
  {
    bug: 'an agent core is lost without a word',
    file: `${server}/tools/wire/remote-call.ts`,
    replace: "    this.#connection.lost(toolName, this.#connection.effectsOf(this.#call) === 'once' ? 'unknown' : 'failed', how);\n",
    by: '',
    tests: ['test/e2e/agent-core-workers.test.ts'],
  },
  {
    bug: 'whoever asks for tools waits for an agent core that stands still',
    file: `${server}/tools/wire/client.ts`,
    replace: 'if (last === undefined) return asked;',
    by: 'if (last !== null) return asked;',
    tests: remoteTests,
  },
];
