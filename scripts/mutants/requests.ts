import { type Mutant, server } from './mutant.ts';

const requestTests = ['test/hostile/requests.test.ts'];
const fuzzTests = ['test/hostile/fuzz.test.ts'];
const connections = `${server}/api/http/connections.ts`;
const app = `${server}/api/http/app.ts`;

/** Of what strangers send to the port. */
export const requestMutants: readonly Mutant[] = [
  {
    bug: 'requests: what is sent on one connection without reading is begun all at once',
    file: connections,
    replace: 'const maxPipelined = 32;',
    by: 'const maxPipelined = 100_000;',
    tests: requestTests,
  },
  {
    bug: 'requests: a request may take for ever to arrive',
    file: connections,
    replace: 'requestTimeout: requestTimeoutMs,',
    by: 'requestTimeout: 0, headersTimeout: 0,',
    tests: requestTests,
  },
  {
    bug: 'requests: what is no request is not answered on the second address',
    file: `${server}/api/http/listen.ts`,
    replace: 'createHttp1Server(limits, errors,',
    by: 'createHttp1Server(limits, { refuseUnreadable: (_error, socket) => void socket.destroy() },',
    tests: requestTests,
  },
  {
    bug: 'requests: one who is too slow is told that it was no HTTP',
    file: `${server}/api/http/errors.ts`,
    replace: "case 'ERR_HTTP_REQUEST_TIMEOUT':",
    by: "case 'ERR_NOTHING':",
    tests: requestTests,
  },
  {
    bug: 'requests: as many connections are taken as come',
    file: connections,
    replace: 'if (open >= limit) {',
    by: 'if (open >= 1e9) {',
    tests: requestTests,
  },
  {
    bug: 'requests: packed bytes are read as they stand',
    file: app,
    replace: '      refusePacked(request.raw);\n',
    by: '',
    tests: requestTests,
  },
  {
    bug: 'requests: a second host is passed over',
    file: app,
    replace: 'if (hosts > 1 || ',
    by: 'if (hosts > 9 || ',
    tests: [`${server}/api/http/security.test.ts`],
  },
  {
    bug: 'requests: a part of a path that is too long fails inside',
    file: `${server}/api/http/problems.ts`,
    replace: "case 'FST_ERR_MAX_PARAM_LENGTH':",
    by: "case 'FST_ERR_NOTHING':",
    tests: fuzzTests,
  },
  {
    bug: 'requests: a NUL in a query reaches the database',
    file: `${server}/api/http/register.ts`,
    replace: '  refuseNul(request.query as',
    by: '  void (request.query as',
    tests: [`${server}/api/api.test.ts`],
  },
  {
    bug: 'a list gives a cursor that it does not take',
    file: `${server}/api/contract/route.ts`,
    replace: 'const maxCursorChars = 6_000;',
    by: 'const maxCursorChars = 500;',
    tests: ['test/hostile/known-faults.test.ts'],
  },
];
