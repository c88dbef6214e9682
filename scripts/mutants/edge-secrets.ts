import { type Mutant, server } from './mutant.ts';

const builtin = `${server}/tools/sources/builtin`;
const edge = `${builtin}/edge-secret.ts`;
const fetching = `${builtin}/http-fetch.ts`;
const proxied = `${server}/tools/net/proxy/with-secret.ts`;
const ofHttp = [`${builtin}/http-secret.test.ts`];
const ofJails = [`${builtin}/jail-secrets.test.ts`];

/** Of secrets that are put into requests at the edge. */
export const edgeSecretMutants: readonly Mutant[] = [
  {
    bug: 'given: policy is not heard about a secret',
    file: edge,
    replace: '  if (!verdict.allowed) throw',
    by: '  if (verdict === null) throw',
    tests: [...ofHttp, ...ofJails],
  },
  {
    bug: 'given: a secret is sent over plain http',
    file: edge,
    replace: "  if (url.protocol !== 'https:' && !isThisMachine(hostname))",
    by: "  if (url.protocol !== 'https:' && hostname === '')",
    tests: [...ofHttp, ...ofJails],
  },
  {
    bug: 'given: a secret goes along to another host',
    file: fetching,
    replace: '      if (isElsewhere) headers = ',
    by: '      if (isElsewhere && secret === null) headers = ',
    tests: ofHttp,
  },
  {
    bug: 'given: what an answer repeats is shown',
    file: fetching,
    replace: '  return fetched.secret === null ? text : fetched.secret.clean(text);',
    by: '  return text;',
    tests: ofHttp,
  },
  {
    bug: 'given: the beginning of a secret stands where a body was cut',
    file: fetching,
    replace: '(complete ? secret.clean(text) :',
    by: '(text !== null ? secret.clean(text) :',
    tests: ofHttp,
  },
  {
    bug: 'given: a redirect tells the secret',
    file: fetching,
    replace: 'if (secret !== null && secret.clean(location) !== location)',
    by: 'if (secret !== null && location === null)',
    tests: ofHttp,
  },
  {
    bug: 'given: a program shows who it is beside the secret',
    file: proxied,
    replace: "const ofCaller = new Set(['authorization', 'cookie', 'proxy-authorization']);",
    by: "const ofCaller = new Set(['authorization']);",
    tests: ofJails,
  },
  {
    bug: 'given: a program asks for parts of an answer',
    file: proxied,
    replace: "const ofAnswers = new Set(['range', 'if-range', 'accept-charset']);",
    by: "const ofAnswers = new Set(['if-range']);",
    tests: ofJails,
  },
  {
    bug: 'given: an answer that is compressed is passed on',
    file: proxied,
    replace: "if (encoding !== '' && encoding !== 'identity')",
    by: "if (encoding === 'x-none')",
    tests: ofJails,
  },
  {
    bug: 'given: a part of an answer is passed on',
    file: proxied,
    replace: 'if (statusCode === 206)',
    by: 'if (statusCode === 207)',
    tests: ofJails,
  },
  {
    bug: 'given: each piece of an answer is looked at by itself',
    file: proxied,
    replace: "stream.push(chunk.toString('latin1'))",
    by: "secret.clean(chunk.toString('latin1'))",
    tests: ofJails,
  },
  {
    bug: 'given: a host with a secret is open to tunnels',
    file: `${server}/tools/net/proxy/target.ts`,
    replace: "use === 'any' || (use === 'read' && reads)",
    by: "use !== 'read' || reads",
    tests: ofJails,
  },
  {
    bug: 'given: a charset hides what an answer repeats',
    file: fetching,
    replace: "decodeText(Buffer.from(clean(bytes.toString('latin1')), 'latin1'), type)",
    by: 'decodeText(bytes, type)',
    tests: ofHttp,
  },
  {
    bug: 'given: UTF-16 hides what an answer repeats',
    file: `${server}/core/secrets/spellings.ts`,
    replace: '    wide(value),\n',
    by: '    wide(value).slice(0, 1),\n',
    tests: [...ofHttp, ...ofJails],
  },
  {
    bug: 'given: the port of one address is the end of another',
    file: `${server}/tools/net/egress.ts`,
    replace: "return hostname.includes(':') ?",
    by: "return hostname.includes('::::') ?",
    tests: [`${server}/apps/tool-secrets.test.ts`],
  },
];
