import type { OAuthClientProvider, OAuthDiscoveryState, OAuthTokens, StoredOAuthClientInformation } from '@modelcontextprotocol/client';
import { NexusError } from '#core';
import { type OAuthFetch, requireSecure } from './oauth-fetch.ts';

/** What the server says that it needs, when it refuses a request. */
export interface Challenge {
  readonly resourceMetadataUrl: string | null;
  readonly scope: string | null;
}

/** A token, and for what it was given. */
export interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string | null;
  readonly scope: string | null;
  /** Null where nothing was said that can be believed. */
  readonly lifetimeMs: number | null;
}

/** A client that an authorization server knows, with what that server says of itself. */
export interface Registration {
  readonly discovery: OAuthDiscoveryState;
  readonly client: StoredOAuthClientInformation;
  readonly resource: string | null;
}

/** What of this server's own an authorization server is shown. */
export interface ClientIdentity {
  readonly clientId: string | undefined;
  readonly clientSecret: string | undefined;
  readonly privateKey: { readonly pem: string; readonly algorithm: string } | undefined;
  readonly issuer: string | undefined;
}

interface Talk {
  readonly serverUrl: string;
  readonly http: OAuthFetch;
  readonly allowPrivate: ((hostname: string, port: number) => boolean) | undefined;
}

export interface BegunLogin extends Registration {
  readonly address: string;
  readonly codeVerifier: string;
}

const maxTokenChars = 16_384;
const maxKeptChars = 200_000;
/** Of lifetimes that are longer nobody knows what becomes. */
const longestMs = 366 * 86_400_000;

const load = () => import('@modelcontextprotocol/client');

/** Begins the login of a person: finds the authorization server, makes us known to it, and gives the address that the person opens. */
export async function beginAuthorization(
  talk: Talk,
  {
    identity,
    challenge,
    scope,
    known,
    ...ours
  }: {
    readonly identity: ClientIdentity;
    readonly challenge: Challenge;
    readonly scope: string | undefined;
    /** As whom an authorization server knows us from before. */
    readonly known: StoredOAuthClientInformation | null;
    readonly redirectUrl: string;
    readonly metadataUrl: string | null;
    readonly state: string;
  },
): Promise<BegunLogin> {
  const { auth } = await load();
  let client: StoredOAuthClientInformation | undefined = known ?? undefined;
  const said: { discovery?: OAuthDiscoveryState; address?: URL; codeVerifier: string; resource: string | null } = {
    codeVerifier: '',
    resource: null,
  };
  const fixed = fixedClient(identity);
  const provider: OAuthClientProvider = {
    redirectUrl: ours.redirectUrl,
    ...(ours.metadataUrl === null ? {} : { clientMetadataUrl: ours.metadataUrl }),
    clientMetadata: clientMetadata(ours.redirectUrl),
    state: () => ours.state,
    clientInformation: () => fixed ?? client,
    ...(fixed === undefined
      ? {
          saveClientInformation: (information: StoredOAuthClientInformation) => {
            client = information;
          },
        }
      : {}),
    tokens: () => undefined,
    saveTokens: () => undefined,
    redirectToAuthorization: (url) => {
      said.address = url;
    },
    saveCodeVerifier: (verifier) => {
      said.codeVerifier = verifier;
    },
    codeVerifier: () => said.codeVerifier,
    discoveryState: () => undefined,
    saveDiscoveryState: (state) => {
      requireProofKeys(state);
      said.discovery = state;
    },
    saveResourceUrl: (url) => {
      said.resource = url;
    },
  };
  await spoken(talk.http, () =>
    auth(provider, {
      serverUrl: talk.serverUrl,
      fetchFn: talk.http.fetch,
      forceReauthorization: true,
      ...(scope === undefined ? {} : { scope }),
      ...(challenge.resourceMetadataUrl === null ? {} : { resourceMetadataUrl: new URL(challenge.resourceMetadataUrl) }),
    }),
  );
  const registered = fixed ?? client;
  const { address, discovery, codeVerifier, resource } = said;
  if (address === undefined || discovery === undefined || registered === undefined) throw unusable('it gives no address to log in at');
  requireSecure(address, talk.allowPrivate);
  const begun = { address: address.href, codeVerifier, discovery, client: withoutSecret(registered, identity), resource };
  if (JSON.stringify(begun).length > maxKeptChars)
    throw unusable(`it says more of itself than the ${maxKeptChars} characters that are kept`);
  return begun;
}

/** Exchanges the code that came back, once; the issuer that came with it must be the one that the person was sent to. */
export async function finishAuthorization(
  { http }: Talk,
  login: Registration & { readonly codeVerifier: string; readonly redirectUrl: string },
  answer: { readonly code: string; readonly issuer: string | undefined },
  identity: ClientIdentity,
): Promise<Tokens> {
  const { exchangeAuthorization } = await load();
  const { discovery, client, codeVerifier, redirectUrl, resource } = login;
  const tokens = await spoken(http, () =>
    exchangeAuthorization(discovery.authorizationServerUrl, {
      ...metadataOf(discovery),
      clientInformation: withSecret(client, identity),
      authorizationCode: answer.code,
      ...(answer.issuer === undefined ? {} : { iss: answer.issuer }),
      codeVerifier,
      redirectUri: redirectUrl,
      ...(resource === null ? {} : { resource }),
      fetchFn: http.fetch,
    }),
  );
  return tokensFrom(tokens);
}

/** Throws `tool_failed` for an answer of another issuer than the one that the person was sent to. */
export async function requireIssuer({ discovery }: Registration, issuer: string | undefined): Promise<void> {
  const { validateAuthorizationResponseIssuer } = await load();
  const { authorizationServerMetadata: metadata } = discovery;
  try {
    validateAuthorizationResponseIssuer({
      iss: issuer,
      expectedIssuer: metadata?.issuer,
      issParameterSupported: metadata?.authorization_response_iss_parameter_supported === true,
    });
  } catch (error) {
    throw explained(error);
  }
}

/** A newer token for an older one. Throws `login_required` where the authorization server wants the person. */
export async function refreshTokens(
  { http }: Talk,
  { discovery, client, resource }: Registration,
  refreshToken: string,
  identity: ClientIdentity,
): Promise<Tokens> {
  const { refreshAuthorization } = await load();
  const tokens = await spoken(http, () =>
    refreshAuthorization(discovery.authorizationServerUrl, {
      ...metadataOf(discovery),
      clientInformation: withSecret(client, identity),
      refreshToken,
      ...(resource === null ? {} : { resource }),
      fetchFn: http.fetch,
    }),
  );
  return tokensFrom(tokens);
}

/** A token for this server itself. */
export async function fetchOwnTokens(
  { serverUrl, http }: Talk,
  { clientId = '', clientSecret, privateKey, issuer = '' }: ClientIdentity,
  challenge: Challenge,
  scope: string | undefined,
): Promise<Tokens & { readonly discovery: OAuthDiscoveryState }> {
  const sdk = await load();
  const about = { clientId, expectedIssuer: issuer, clientName, ...(scope === undefined ? {} : { scope }) };
  const provider =
    privateKey === undefined
      ? new sdk.ClientCredentialsProvider({ ...about, clientSecret: clientSecret ?? '' })
      : new sdk.PrivateKeyJwtProvider({ ...about, privateKey: privateKey.pem, algorithm: privateKey.algorithm });
  return spoken(http, async () => {
    const found = await sdk.discoverOAuthServerInfo(serverUrl, {
      fetchFn: http.fetch,
      ...(challenge.resourceMetadataUrl === null ? {} : { resourceMetadataUrl: new URL(challenge.resourceMetadataUrl) }),
    });
    http.throwIfRefused(); // before a secret goes anywhere
    await sdk.selectResourceURL(serverUrl, provider, found.resourceMetadata); // throws for that of another server
    const tokens = await sdk.fetchToken(provider, found.authorizationServerUrl, {
      ...(found.authorizationServerMetadata === undefined ? {} : { metadata: found.authorizationServerMetadata }),
      ...(found.resourceMetadata === undefined ? {} : { resource: found.resourceMetadata.resource }),
      ...(scope === undefined ? {} : { scope }),
      fetchFn: http.fetch,
    });
    return { ...tokensFrom(tokens), discovery: found };
  });
}

/** Tells the authorization server that a token is not needed any more (RFC 7009), where it can be told. */
export async function revokeToken(
  { http }: Talk,
  { discovery, client }: Registration,
  token: { readonly value: string; readonly hint: 'refresh_token' | 'access_token' },
  identity: ClientIdentity,
): Promise<void> {
  const { authorizationServerMetadata: metadata } = discovery;
  const endpoint: unknown = metadata !== undefined && 'revocation_endpoint' in metadata ? metadata.revocation_endpoint : undefined;
  if (typeof endpoint !== 'string') return;
  const { client_id, client_secret } = withSecret(client, identity);
  const isBasic = client_secret !== undefined && metadata?.token_endpoint_auth_methods_supported?.includes('client_secret_post') !== true;
  const pair = `${encodeURIComponent(client_id)}:${encodeURIComponent(client_secret ?? '')}`;
  await http.fetch(endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      ...(isBasic ? { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } : {}),
    },
    body: new URLSearchParams({
      ...{ token: token.value, token_type_hint: token.hint, client_id },
      ...(client_secret === undefined || isBasic ? {} : { client_secret }),
    }),
  });
}

const clientName = 'Nexus Agent';

/** What we say of ourselves when we register, and in our client metadata document. */
export function clientMetadata(redirectUrl: string) {
  return {
    client_name: clientName,
    redirect_uris: [redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  };
}

function fixedClient({ clientId, clientSecret, issuer }: ClientIdentity): StoredOAuthClientInformation | undefined {
  if (clientId === undefined) return undefined;
  return {
    client_id: clientId,
    ...(clientSecret === undefined ? {} : { client_secret: clientSecret }),
    ...(issuer === undefined ? {} : { issuer }),
  };
}

/** The operator's secret is not kept beside what was granted. */
function withoutSecret(client: StoredOAuthClientInformation, { clientSecret }: ClientIdentity): StoredOAuthClientInformation {
  if (clientSecret === undefined) return client;
  const { client_secret: _secret, ...rest } = client;
  return rest;
}

function withSecret(client: StoredOAuthClientInformation, { clientSecret }: ClientIdentity): StoredOAuthClientInformation {
  return clientSecret === undefined ? client : { ...client, client_secret: clientSecret };
}

function metadataOf({ authorizationServerMetadata: metadata }: OAuthDiscoveryState) {
  return metadata === undefined ? {} : { metadata };
}

/** Without proof keys a stolen code is a token: who does not say that it knows them is not used. */
function requireProofKeys({ authorizationServerMetadata: metadata }: OAuthDiscoveryState): void {
  if (metadata !== undefined && metadata.code_challenge_methods_supported?.includes('S256') !== true)
    throw unusable('it does not say that it takes PKCE with S256 (code_challenge_methods_supported)');
}

function tokensFrom({ access_token, token_type, refresh_token, scope, expires_in }: OAuthTokens): Tokens {
  if (token_type.toLowerCase() !== 'bearer') throw unusable('it gives a token of another type than Bearer');
  const isPlain = (token: string) => token.length <= maxTokenChars && /^[\x21-\x7e]+$/.test(token);
  if (!isPlain(access_token) || (refresh_token !== undefined && !isPlain(refresh_token)))
    throw unusable(`it gives a token that is empty, has other than visible characters, or more than ${maxTokenChars}`);
  const lasts = expires_in !== undefined && Number.isFinite(expires_in) && expires_in > 0 ? expires_in * 1_000 : null;
  return {
    accessToken: access_token,
    refreshToken: refresh_token ?? null,
    scope: scope === undefined ? null : scope.slice(0, 2_000),
    lifetimeMs: lasts === null ? null : Math.min(lasts, longestMs),
  };
}

/** A conversation with an authorization server: what was refused on the way counts, whatever the SDK made of it. */
async function spoken<Result>(http: OAuthFetch, work: () => Promise<Result>): Promise<Result> {
  let result: Result;
  try {
    result = await work();
  } catch (error) {
    try {
      http.throwIfRefused();
    } catch (refusal) {
      throw explained(refusal);
    }
    throw explained(error);
  }
  try {
    http.throwIfRefused();
  } catch (refusal) {
    throw explained(refusal);
  }
  return result;
}

/** What the authorization server says no to for good: only a person can help. */
const needsPerson = new Set(['invalid_grant', 'invalid_client', 'unauthorized_client']);

/** In our own words: what comes from there may hold what it was sent. Told apart by form. */
function explained(error: unknown): NexusError {
  for (let each = error, depth = 0; each instanceof Error && depth < 5; each = each.cause, depth++)
    if (each instanceof NexusError) return each;
  if (!(error instanceof Error)) return unusable('it failed');
  const code = 'code' in error && typeof error.code === 'string' && /^[a-z_]{1,60}$/.test(error.code) ? error.code : null;
  const status = 'status' in error && typeof error.status === 'number' ? error.status : null;
  switch (error.name) {
    case 'IssuerMismatchError':
      return unusable('it says that it is another issuer than the one that was asked');
    case 'AuthorizationServerMismatchError':
      return unusable('the MCP server names another authorization server than the one that our client belongs to');
    case 'InsecureTokenEndpointError':
      return unusable('its token endpoint is not https');
    case 'RegistrationRejectedError':
      return unusable(`it does not register us (HTTP ${status}); register a client there, and give its clientId in auth`);
    default:
  }
  if (code !== null)
    return new NexusError('tool_failed', `the authorization server of the MCP server answered ${code}`, {
      details: needsPerson.has(code) ? { reason: 'login' } : {},
    });
  if (/does not match expected/.test(error.message)) return unusable('the MCP server names a resource that is not itself');
  if (/dynamic client registration/i.test(error.message))
    return unusable('it registers nobody; register a client there, and give its clientId in auth');
  if (/does not support/.test(error.message)) return unusable('it does not know the flow of authorization that MCP asks for');
  return unusable('it answers with something that cannot be read, or not at all');
}

function unusable(message: string): NexusError {
  return new NexusError('tool_failed', `the authorization server of the MCP server cannot be used: ${message}`);
}
