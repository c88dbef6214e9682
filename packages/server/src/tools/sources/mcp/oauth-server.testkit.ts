import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TokenRequest {
  readonly body: Readonly<Record<string, string>>;
  readonly headers: IncomingMessage['headers'];
}

/** Answers a request in its own way; false leaves it to the server. */
type AnswerHttp = (path: string, response: ServerResponse, request: IncomingMessage) => boolean | undefined;

export interface FakeAuthorizationServer {
  readonly url: string;
  readonly port: number;
  /** Every path that was asked for, in order. */
  readonly heard: string[];
  readonly tokenRequests: TokenRequest[];
  readonly registrations: Readonly<Record<string, unknown>>[];
  readonly revoked: string[];
  /** Access tokens that count, with the scopes that they are for. */
  readonly access: Map<string, string>;
  /** Refresh tokens that count, each once. */
  readonly refresh: Map<string, string>;
  metadata: Record<string, unknown>;
  /** Put over what a token answer says. */
  tokenAnswer: Record<string, unknown>;
  /** How long a refresh takes. */
  tokenDelayMs: number;
  answer: AnswerHttp;
  close(): Promise<void>;
}

/** An authorization server that rotates its refresh tokens, written by hand so that it can do anything wrong. */
export async function startFakeAuthorizationServer(): Promise<FakeAuthorizationServer> {
  const codes = new Map<string, { readonly challenge: string; readonly scope: string; readonly redirectUri: string }>();
  const kit = {
    ...{
      heard: [] as string[],
      tokenRequests: [] as TokenRequest[],
      registrations: [] as Record<string, unknown>[],
      revoked: [] as string[],
    },
    ...{ access: new Map<string, string>(), refresh: new Map<string, string>(), tokenAnswer: {}, tokenDelayMs: 0 },
    ...{ metadata: {} as Record<string, unknown>, answer: (() => undefined) as AnswerHttp },
  };

  const tokens = (scope: string, isRenewed: boolean) => {
    const [accessToken, refreshToken] = [`access-${randomUUID()}`, `refresh-${randomUUID()}`];
    kit.access.set(accessToken, scope);
    if (isRenewed) kit.refresh.set(refreshToken, scope);
    return {
      ...{ access_token: accessToken, token_type: 'Bearer', expires_in: 3_600, scope },
      ...(isRenewed ? { refresh_token: refreshToken } : {}),
      ...kit.tokenAnswer,
    };
  };

  function grant(body: Readonly<Record<string, string>>): [number, unknown] {
    const { grant_type: type = '', code = '', code_verifier: verifier = '', refresh_token: token = '', redirect_uri: redirectUri } = body;
    if (type === 'client_credentials') return [200, tokens(body.scope ?? '', false)];
    if (type === 'refresh_token') {
      const scope = kit.refresh.get(token);
      kit.refresh.delete(token);
      return scope === undefined ? [400, { error: 'invalid_grant', error_description: `spent ${token}` }] : [200, tokens(scope, true)];
    }
    const known = codes.get(code);
    codes.delete(code);
    const isRight = known?.challenge === createHash('sha256').update(verifier).digest('base64url') && known.redirectUri === redirectUri;
    return known !== undefined && isRight ? [200, tokens(known.scope, true)] : [400, { error: 'invalid_grant' }];
  }

  const server = createServer(async (request, response) => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    const url = new URL(request.url ?? '/', 'http://as');
    kit.heard.push(url.pathname);
    if (kit.answer(url.pathname, response, request) === true) return;
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const body = Object.fromEntries(new URLSearchParams(text));
    switch (url.pathname) {
      case '/.well-known/oauth-authorization-server':
        return json(response, 200, kit.metadata);
      case '/register': {
        const asked = JSON.parse(text) as Record<string, unknown>; // the client sends JSON
        kit.registrations.push(asked);
        return json(response, 201, { ...asked, client_id: `client-${kit.registrations.length}`, token_endpoint_auth_method: 'none' });
      }
      case '/authorize': {
        const get = (name: string) => url.searchParams.get(name) ?? '';
        const code = randomUUID();
        codes.set(code, { challenge: get('code_challenge'), scope: get('scope'), redirectUri: get('redirect_uri') });
        const back = new URL(get('redirect_uri'));
        back.search = new URLSearchParams({ code, state: get('state'), iss: String(kit.metadata.issuer) }).toString();
        return void response.writeHead(302, { location: back.href }).end();
      }
      case '/token': {
        kit.tokenRequests.push({ body, headers: request.headers });
        const [status, said] = grant(body);
        if (kit.tokenDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, kit.tokenDelayMs));
        return json(response, status, said);
      }
      case '/revoke':
        kit.revoked.push(body.token ?? '');
        return void response.writeHead(200).end();
      default:
        return void response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on a port
  const url = `http://127.0.0.1:${port}`;
  kit.metadata = {
    ...{ issuer: url, authorization_endpoint: `${url}/authorize`, token_endpoint: `${url}/token`, revocation_endpoint: `${url}/revoke` },
    ...{ registration_endpoint: `${url}/register`, response_types_supported: ['code'], code_challenge_methods_supported: ['S256'] },
    ...{ token_endpoint_auth_methods_supported: ['none', 'client_secret_basic'], authorization_response_iss_parameter_supported: true },
  };
  return Object.assign(kit, {
    ...{ port, url },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

export function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
