import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import type { AuthorizationRequest } from '#tools';
import { type CallOptions, secretValue, useServer } from './http-tools.testkit.ts';

const api = useServer();
const others: Server[] = [];

afterEach(async () => {
  for (const server of others.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** A server of another origin; gives its address and what reached it. */
async function otherServer() {
  const reached: { url: string; headers: Record<string, unknown> }[] = [];
  const server = createServer((request, response) => {
    reached.push({ url: request.url ?? '', headers: request.headers });
    response.end('elsewhere');
  });
  others.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`, reached };
}

const bearer = { auth: { type: 'bearer', token: 'secret:TOKEN' } } as const;

describe('secrets', () => {
  it.each([
    [bearer, { authorization: `Bearer ${secretValue}` }],
    [{ auth: { type: 'basic', username: 'ada', password: 'secret:TOKEN' } }, { authorization: `Basic ${btoa(`ada:${secretValue}`)}` }],
    [{ auth: { type: 'header', name: 'X-Api-Key', value: 'secret:TOKEN' } }, { 'x-api-key': secretValue }],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: this is how definitions name a secret within a text
    [{ headers: { 'X-Token': 'token ${secret:TOKEN}' } }, { 'x-token': `token ${secretValue}` }],
  ] as const)('are filled in where they are sent: %j [verifies tools.http.secrets]', async (source, headers) => {
    const asked: AuthorizationRequest[] = [];
    const authorize: CallOptions['authorize'] = async (request) => {
      asked.push(request);
      return { allowed: true };
    };
    await api.call({ path: '/' }, {}, { source, authorize });
    expect(api.reached).toMatchObject([{ headers }]);
    expect(asked.map(({ action, resource }) => `${action} ${resource}`)).toEqual(['secret.use TOKEN', 'net.egress 127.0.0.1']);
    expect(JSON.stringify(await api.toolsOf({ path: '/' }, { source }))).not.toContain(secretValue);
  });

  it('go into the query, and out of an answer that repeats them [verifies tools.http.secrets]', async () => {
    api.listener = (request, response) => response.end(`you sent ${request.url}`);
    const source = { auth: { type: 'query', name: 'key', value: 'secret:TOKEN' } } as const;
    const answer = await api.call({ path: '/' }, {}, { source });
    expect(api.reached).toMatchObject([{ url: `/v1/?key=${secretValue}` }]);
    expect(answer).toMatch(/^you sent \/v1\/\?key=/);
    expect(answer).not.toContain(secretValue);
  });

  it('are never an argument: what a model writes is no name of one [verifies tools.http.secrets]', async () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: what a model could try
    const tries = ['secret:TOKEN', '${secret:TOKEN}', '{secret:TOKEN}'];
    for (const text of tries)
      await api.call(
        { method: 'POST', path: '/{x}', query: { q: '{x}' }, headers: { 'x-a': '{x}' }, body: { type: 'json' } },
        { x: text, y: text },
      );
    expect(api.reached.length).toBe(3);
    expect(JSON.stringify(api.reached)).not.toContain(secretValue);
  });

  it.each([
    [
      'there is not',
      { auth: { type: 'bearer', token: 'secret:NOBODY' } } as const,
      {},
      /^tool_failed: there is no secret NOBODY that may be sent to 127\.0\.0\.1; .*nothing was sent/,
    ],
    ['is not for the tenant', bearer, { tenantId: 'ten_2' }, /^tool_failed: there is no secret TOKEN that may be sent/],
    [
      'policy denies',
      bearer,
      {
        authorize: async ({ action }: AuthorizationRequest) =>
          action === 'secret.use'
            ? ({ allowed: false, error: { code: 'policy_denied', message: 'no', retryable: false } } as const)
            : ({ allowed: true } as const),
      },
      /^policy_denied: no$/,
    ],
  ])('that %s stops the call before anything is sent [verifies tools.http.secrets]', async (_what, source, options, message) => {
    expect(await api.call({ method: 'POST', path: '/' }, {}, { source, ...options })).toMatch(message);
    expect(api.reached).toEqual([]);
  });
});

describe('hosts', () => {
  it('are asked about, and private ones are reached where the operator grants them [verifies tools.http.egress]', async () => {
    const denied: CallOptions['authorize'] = async () => ({
      allowed: false,
      error: { code: 'policy_denied', message: 'not there', retryable: false },
    });
    expect(await api.call({ path: '/' }, {}, { authorize: denied })).toBe('policy_denied: not there');
    expect(await api.call({ path: '/' }, {}, { granted: false })).toMatch(/^address_not_allowed/);
    expect(await api.call({ path: '/' }, {}, { granted: false, source: { baseUrl: 'http://169.254.169.254' } })).toMatch(
      /^address_not_allowed/,
    );
    expect(api.reached).toEqual([]);
  });
});

describe('a redirect', () => {
  const to = (status: number, location: string) => {
    api.listener = (request, response) =>
      request.url?.startsWith('/v1/start') ? response.writeHead(status, { location }).end() : response.end('arrived');
  };

  it('within the origin is followed, with what belongs to it [verifies tools.http.redirects]', async () => {
    to(302, '/v2/end');
    expect(await api.call({ path: '/start' }, {}, { source: bearer })).toBe('arrived');
    expect(api.reached[1]).toMatchObject({ url: '/v2/end', headers: { authorization: `Bearer ${secretValue}` } });
    to(303, 'end');
    expect(await api.call({ method: 'POST', path: '/start', body: { type: 'json' } }, { a: 1 })).toBe('arrived');
    expect(api.reached.slice(2)).toMatchObject([
      { method: 'POST', body: '{"a":1}' },
      { method: 'GET', url: '/v1/end', body: '' },
    ]);
    to(307, 'end');
    await api.call({ method: 'PUT', path: '/start', body: { type: 'json' } }, { a: 1 });
    expect(api.reached.at(-1)).toMatchObject({ method: 'PUT', body: '{"a":1}' });
    expect(await api.call({ path: '/start' }, {}, { source: { redirects: 'none' } })).toMatch(/^tool_failed: the server redirects \(307\)/);
  });

  it('to another origin is not, unless the definition says so, and takes nothing along [verifies tools.http.redirects]', async () => {
    const other = await otherServer();
    to(302, `${other.url}/there?x=1`);
    const source = { ...bearer, headers: { 'X-Key': 'secret:TOKEN', 'Accept-Language': 'de' } };
    expect(await api.call({ path: '/start' }, {}, { source })).toMatch(
      /^tool_failed: the server redirects \(302\) to http:\/\/127\.0\.0\.1, which the definition/,
    );
    expect(other.reached).toEqual([]);
    expect(await api.call({ path: '/start' }, {}, { source: { ...source, redirects: 'any' } })).toBe('elsewhere');
    expect(other.reached).toMatchObject([{ url: '/there?x=1', headers: { 'accept-language': 'de' } }]);
    expect(JSON.stringify(other.reached)).not.toContain(secretValue);
    to(308, other.url);
    expect(await api.call({ method: 'PUT', path: '/start', body: { type: 'json' } }, { a: 1 }, { source: { redirects: 'any' } })).toMatch(
      /where no body is sent/,
    );
    expect(other.reached.length).toBe(1);
  });

  it.each(['file:///etc/passwd', 'http://169.254.169.254/', 'http://u:p@127.0.0.1/', 'http://[', 'start'])(
    'to %s leads nowhere [verifies tools.http.redirects]',
    async (location) => {
      to(302, location);
      expect(await api.call({ path: '/start' }, {}, { source: { redirects: 'any' } })).toMatch(
        /^(tool_failed|tool_input_invalid|address_not_allowed)/,
      );
      expect(api.reached.length).toBeLessThan(7);
    },
  );
});
