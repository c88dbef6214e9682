import { Transform } from 'node:stream';
import { NexusError } from '#core';
import type { EdgeSecret } from '../edge-secrets.ts';
import { hostInUrl, hostnameOf } from '../egress.ts';
import type { ProxyTarget } from './target.ts';
import type { SecretGrant } from './types.ts';

type Headers = Readonly<Record<string, string[]>>;

/** The program shows nobody who it is: the server sees one caller, which is the secret's. */
const ofCaller = new Set(['authorization', 'cookie', 'proxy-authorization']);
/** An answer in parts could give away a secret in pieces that are too small to be found, one in other signs of text in signs that are not looked for. */
const ofAnswers = new Set(['range', 'if-range', 'accept-charset']);

/** What is sent in place of a program's request: over TLS, with the secret, and such that the answer can be looked through. */
export function requestWithSecret({ origin, secret }: SecretGrant, { url }: ProxyTarget, headers: Headers) {
  const sent = Object.entries(headers).filter(([name]) => !ofCaller.has(name) && name !== secret.header && !ofAnswers.has(name));
  return {
    ...{ origin: origin.origin, path: `${url.pathname}${url.search}` },
    headers: { ...Object.fromEntries(sent), [secret.header]: [secret.value], 'accept-encoding': ['identity'] },
  };
}

/** The head of an answer without the secret. Throws for one that could not be looked through. */
export function headersWithoutSecret({ secret, origin, port }: SecretGrant, statusCode: number, headers: Headers): Headers {
  const encoding = headers['content-encoding']?.join(',').trim().toLowerCase() ?? '';
  if (encoding !== '' && encoding !== 'identity')
    throw unreadable(`in the encoding ${JSON.stringify(encoding.slice(0, 50))}, which was not asked for`);
  if (statusCode === 206) throw unreadable('with a part, which was not asked for');
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, values]) =>
      secret.clean(name) === name ? [[name, values.map((value) => reachable(secret.clean(value), name, origin, port))]] : [],
    ),
  );
}

/** A redirect within the host leads where the program reaches it. */
function reachable(value: string, name: string, origin: URL, port: number): string {
  const url = name === 'location' ? URL.parse(value) : null;
  if (url === null || url.origin !== origin.origin) return value;
  return `http://${hostInUrl(hostnameOf(url))}${port === 80 ? '' : `:${port}`}${url.pathname}${url.search}${url.hash}`;
}

function unreadable(how: string): NexusError {
  return new NexusError('tool_failed', `the host answered ${how}; as it was sent a secret, what cannot be looked through is not passed on`);
}

/** The body without the secret, wherever it was cut. Each byte is a sign by itself here, so that bytes stay as they are. */
export function bodyWithoutSecret(secret: EdgeSecret): Transform {
  const stream = secret.cleanStream();
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      done(null, Buffer.from(stream.push(chunk.toString('latin1')), 'latin1'));
    },
    flush(done) {
      done(null, Buffer.from(stream.end(), 'latin1'));
    },
  });
}
