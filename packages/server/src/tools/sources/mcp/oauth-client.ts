import type {
  AddClientAuthentication,
  OAuthClientProvider,
  OAuthDiscoveryState,
  OAuthTokens,
  StoredOAuthClientInformation,
} from '@modelcontextprotocol/client';
import { NexusError } from '#core';
import type { Challenge } from './oauth-challenge.ts';
import { type OAuthFetch, requireSecure } from './oauth-fetch.ts';

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
  let discovery = await spoken(talk.http, () => discovered(talk, challenge));
  requireProofKeys(discovery);
  const said: { address?: URL; codeVerifier: string; resource: string | null } = { codeVerifier: '', resource: null };
  const fixed = fixedClient(identity);
  const provider: OAuthClientProvider = {
    redirectUrl: ours.redirectUrl,
    ...(ours.metadataUrl === null ? {} : { clientMetadataUrl: ours.metadataUrl }),
    clientMetadata: { ...clientMetadata(ours.redirectUrl), ...authMethodFor(discovery) },
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
    discoveryState: () => discovery,
    saveDiscoveryState: (state) => {
      requireProofKeys(state);
      discovery = state;
    },
    saveResourceUrl: (url) => {
      said.resource = url;
    },
  };
  await spoken(talk.http, () =>
    auth(provider, {
      serverUrl: talk.serverUrl,
      fetchFn: talk.http.fetch,
      ...{ forceReauthorization: true, skipIssuerMetadataValidation: true }, // which {@link discovered} has seen to
      ...(scope === undefined ? {} : { scope }),
      ...metadataUrlOf(challenge),
    }),
  );
  const registered = fixed ?? client;
  const { address, codeVerifier, resource } = said;
  if (address === undefined || registered === undefined) throw unusable('it gives no address to log in at');
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
  const as = await shownAs(withSecret(client, identity));
  const tokens = await spoken(http, () =>
    exchangeAuthorization(discovery.authorizationServerUrl, {
      ...{ ...metadataOf(discovery), ...as },
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
  const as = await shownAs(withSecret(client, identity));
  let status = 0;
  const fetchFn: OAuthFetch['fetch'] = async (target, init) => {
    const response = await http.fetch(target, init);
    ({ status } = response);
    return response;
  };
  try {
    const tokens = await spoken(http, () =>
      refreshAuthorization(discovery.authorizationServerUrl, {
        ...{ ...metadataOf(discovery), ...as, refreshToken, fetchFn },
        ...(resource === null ? {} : { resource }),
      }),
    );
    return tokensFrom(tokens);
  } catch (error) {
    // Not all say `invalid_grant` of a token that has ended: some say anything else, in any form.
    if (!(error instanceof NexusError) || error.details?.reason !== 'said' || ![200, 400, 401].includes(status)) throw error;
    throw new NexusError(error.code, error.message, { details: { reason: 'refused' }, cause: error });
  }
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
  if (privateKey === undefined)
    Object.assign(provider, {
      addClientAuthentication: await authenticationOf({ client_id: clientId, client_secret: clientSecret ?? '' }),
    });
  return spoken(http, async () => {
    const found = await discovered({ serverUrl, http }, challenge);
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
  const headers = new Headers({ 'content-type': 'application/x-www-form-urlencoded' });
  const body = new URLSearchParams({ token: token.value, token_type_hint: token.hint });
  const authenticate = await authenticationOf(withSecret(client, identity));
  await authenticate(headers, body, endpoint, metadata);
  await http.fetch(endpoint, { method: 'POST', headers, body });
}

/** What the MCP server and its authorization server say of themselves. */
async function discovered({ serverUrl, http }: Pick<Talk, 'serverUrl' | 'http'>, challenge: Challenge): Promise<OAuthDiscoveryState> {
  const { discoverOAuthServerInfo } = await load();
  let isPage = false;
  const found = await discoverOAuthServerInfo(serverUrl, {
    async fetchFn(target, init) {
      const response = await http.fetch(target, init);
      if (!response.ok || isJson(await response.clone().text())) return response;
      // A page for people, which some servers answer any address with, is no document; there may be one elsewhere.
      isPage ||= !String(target).includes('/oauth-protected-resource');
      return new Response('', { status: 404 });
    },
    skipIssuerMetadataValidation: true,
    ...metadataUrlOf(challenge),
  });
  if (isPage && found.authorizationServerMetadata === undefined) throw unusable('what it says of itself cannot be read');
  const bare = (issuer: string) => issuer.replace(/\/$/, '');
  const { authorizationServerMetadata: metadata, authorizationServerUrl: asked } = found;
  // Whether there is a slash at the end is written in both ways, and both have the same document.
  if (metadata !== undefined && bare(metadata.issuer) !== bare(asked))
    throw unusable('it says that it is another issuer than the one that was asked');
  return found;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function metadataUrlOf({ resourceMetadataUrl: url }: Challenge) {
  return url === null ? {} : { resourceMetadataUrl: new URL(url) };
}

/** How a client shows who it is. The SDK leaves out the encoding of RFC 6749 (2.3.1), without which some secrets are others. */
async function authenticationOf(client: StoredOAuthClientInformation): Promise<AddClientAuthentication> {
  const { selectClientAuthMethod } = await load();
  const { client_id: id, client_secret: secret } = client;
  return (headers, params, _endpoint, metadata) => {
    const method = selectClientAuthMethod(client, metadata?.token_endpoint_auth_methods_supported ?? []);
    if (method === 'client_secret_basic' && secret !== undefined) {
      const pair = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`;
      headers.set('authorization', `Basic ${Buffer.from(pair).toString('base64')}`);
      return;
    }
    params.set('client_id', id);
    if (method === 'client_secret_post' && secret !== undefined) params.set('client_secret', secret);
  };
}

async function shownAs(clientInformation: StoredOAuthClientInformation) {
  return { clientInformation, addClientAuthentication: await authenticationOf(clientInformation) };
}

/** Who registers without a word of it is given `client_secret_basic`, which not all take. */
function authMethodFor({ authorizationServerMetadata: metadata }: OAuthDiscoveryState): { token_endpoint_auth_method?: string } {
  const methods = metadata?.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
  const method = ['client_secret_basic', 'none', 'client_secret_post'].find((each) => methods.includes(each));
  return method === undefined || method === 'client_secret_basic' ? {} : { token_endpoint_auth_method: method };
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

/** What the authorization server says no to for good: only a person can help, with `client` by logging in as one that it does not know yet. */
const forGood = new Map([
  ['invalid_grant', 'login'],
  ['invalid_client', 'client'],
  ['unauthorized_client', 'client'],
]);

/** What passes. */
const passing = new Set(['temporarily_unavailable', 'slow_down']);

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
      details: { reason: forGood.get(code) ?? (passing.has(code) ? 'passing' : 'said') },
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
