import type { AuthProvider, Transport } from '@modelcontextprotocol/client';
import type { McpServerDefinition } from '@nexus-agent/protocol';
import { type Clock, NexusError, type Timers } from '#core';
import type { McpGrantStore } from '#storage';
import { isSecretHeader, type ToolTier } from '#tools/contract';
import { createEgressAgent, createNameResolver, type EgressOptions, hostnameOf, portOf, requireAllowedUrl } from '#tools/net';
import type { Jail, JailLimits } from '#tools/sandbox';
import { offersOf } from './asked.ts';
import { connect, type McpConnection } from './connection.ts';
import type { KeptServer } from './content.ts';
import { createEgressFetch } from './egress-fetch.ts';
import { createHiddenTokens } from './hidden-tokens.ts';
import { createOAuth, type OAuth } from './oauth.ts';
import type { Seal } from './oauth-seal.ts';
import { createProgramOpener, type Hooks } from './program-connections.ts';
import { createPrograms, type ProgramSettings } from './programs.ts';

/** A secret of the operator: it goes to these hosts only, and for these tenants. */
export interface McpSecret {
  readonly name: string;
  readonly value: string;
  readonly hosts: readonly string[];
  readonly tenants: readonly string[];
}

export interface ReachOptions extends Pick<EgressOptions, 'allowPrivate' | 'isOwnListener' | 'traffic'> {
  readonly timers: Timers;
  readonly clock: Clock;
  readonly store: McpGrantStore;
  /** What tokens are sealed with. Throws `config_invalid` where there is no key. */
  readonly seal: () => Promise<Seal>;
  readonly version: string;
  readonly secrets: readonly McpSecret[];
  /** What starts servers that are programs. */
  readonly jail: Jail;
  readonly jailLimits: JailLimits;
  readonly stdio: ProgramSettings;
  readonly connectTimeoutMs: number;
  readonly answerTimeoutMs: number;
  readonly maxTools: number;
  readonly maxResponseBytes: number;
  readonly maxResponseValues: number;
}

/** Where a server is, and what goes there: what policy is asked about before a call. */
export interface Destination {
  readonly host: string;
  /** Null for a program, which reaches nothing. */
  readonly context: Readonly<Record<string, unknown>> | null;
  readonly secrets: readonly { readonly name: string; readonly host: string }[];
}

export interface Reach {
  readonly oauth: OAuth;
  destinationOf(definition: McpServerDefinition): Destination;
  /** What its tools run in. */
  tierOf(definition: McpServerDefinition): ToolTier;
  /** Throws `invalid_request` for what could never be connected to, so that it is said when it is added. */
  check(tenantId: string, definition: McpServerDefinition): void;
  /**
   * Connects. What it opens is closed with the connection, or at once when that fails. Shows a token where the server has `auth`, or what it
   * is given here.
   */
  open(
    server: Pick<KeptServer, 'tenantId' | 'name' | 'definition'>,
    onToolsChanged: () => void,
    signal: AbortSignal,
    provider?: AuthProvider,
  ): Promise<McpConnection>;
}

/** These belong to the connection, or to the protocol. */
const reservedHeaders =
  /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|keep-alive|accept|accept-encoding|content-type|last-event-id|mcp-.*|proxy-.*)$/i;

/** Throws where the address is not public, with the setting that would grant it. */
function requireReachable(url: URL, granted: Pick<EgressOptions, 'allowPrivate'>): void {
  try {
    requireAllowedUrl(url, granted);
  } catch (error) {
    if (!(error instanceof NexusError)) throw error;
    if (error.code === 'tool_input_invalid') throw invalid(error.message);
    throw new NexusError(error.code, `${error.message}; mcpClient.allowPrivate of the server grants it: ${hostnameOf(url)}:${portOf(url)}`);
  }
}

export function createReach(options: ReachOptions): Reach {
  const { timers, secrets, allowPrivate, connectTimeoutMs } = options;
  const openEgress = createOpenEgress(options);
  const oauth = oauthOver(options, openEgress);
  const granted = allowPrivate === undefined ? {} : { allowPrivate };

  const programs = createPrograms({
    ...{ jail: options.jail, settings: options.stdio, limits: options.jailLimits, timers },
    secretFor: (tenantId, name) => secretFor(tenantId, name, programHost),
  });

  function headersFor(tenantId: string, transport: HttpTransport): Record<string, string> {
    const host = hostnameOf(new URL(transport.url));
    return Object.fromEntries(
      Object.entries(transport.headers).map(([name, value]) => {
        if (reservedHeaders.test(name)) throw invalid(`the header ${name} cannot be set`);
        if (typeof value !== 'string') return [name, secretFor(tenantId, value.secret, host)];
        if (isSecretHeader(name))
          throw invalid(`the header ${name} holds a secret: configure it under mcpClient.secrets and write { secret: NAME }`);
        if (!/^[\t\x20-\x7e]*$/.test(value)) throw invalid(`the header ${name} has characters that no header may have`);
        return [name, value];
      }),
    );
  }

  /** One message for all that is wrong: who may not use a secret need not learn that it is there. */
  function secretFor(tenantId: string, name: string, host: string): string {
    const found = secrets.find((secret) => secret.name === name && secret.tenants.includes(tenantId) && secret.hosts.includes(host));
    if (found === undefined) throw invalid(`mcpClient.secrets has no secret ${JSON.stringify(name)} for ${host} that this tenant may use`);
    return found.value;
  }

  function check(tenantId: string, definition: McpServerDefinition): void {
    const { transport } = definition;
    if (transport.type === 'stdio') {
      programs.check(tenantId, transport);
      return;
    }
    const url = URL.parse(transport.url);
    if (url === null) throw invalid('the url is none; give one such as https://mcp.example.com/mcp');
    if (hostnameOf(url) === programHost) throw invalid(`${programHost} is how secrets name programs, and no host`);
    requireReachable(url, granted);
    requireUnread(url, definition);
    headersFor(tenantId, transport);
    oauth.check({ tenantId: tenantId as KeptServer['tenantId'], definition });
  }

  /** Plain HTTP can be read on the way, but where the operator says that the way is their own. */
  function requireUnread(url: URL, { transport, auth }: McpServerDefinition): void {
    const shows = auth !== undefined || (transport.type === 'http' && secretsIn(transport.headers).length > 0);
    if (!shows || url.protocol === 'https:' || allowPrivate?.(hostnameOf(url), portOf(url)) === true) return;
    throw invalid(
      `${url.origin} is not https: a secret or a login is shown to no server that others can read, but where mcpClient.allowPrivate names it`,
    );
  }

  const bounds = { maxBytes: options.maxResponseBytes, maxValues: options.maxResponseValues };

  const openProgram = createProgramOpener({ ...options, ...bounds, programs });

  async function openHttp(
    server: Parameters<Reach['open']>[0],
    transport: HttpTransport,
    hooks: Hooks,
    signal: AbortSignal,
    given: AuthProvider | undefined,
  ): Promise<McpConnection> {
    const hidden = createHiddenTokens();
    const provider = given ?? oauth.providerFor(server, hidden.add);
    const { agent, end } = openEgress();
    try {
      const headers = headersFor(server.tenantId, transport);
      const plain = createEgressFetch({ agent, timers, answerTimeoutMs: options.answerTimeoutMs, ...bounds });
      const fetch = provider === undefined ? plain : oauth.watch(server, plain);
      const connection = await connect(
        {
          ...options,
          transport: overHttp(
            new URL(transport.url),
            fetch,
            { 'user-agent': `nexus-agent/${options.version}`, ...headers },
            provider,
            options,
          ),
          probeTimeoutMs: connectTimeoutMs,
          ...hooks,
        },
        signal,
      );
      return { ...hidden.within(connection), close: () => connection.close().finally(end) };
    } catch (error) {
      await end();
      throw hidden.inError(error);
    }
  }

  return {
    oauth,
    check,
    tierOf: ({ transport }) => (transport.type === 'stdio' ? options.jail.tier : 'remote'),
    destinationOf({ transport, auth }) {
      const at = (names: readonly string[], host: string) => names.map((name) => ({ name, host }));
      if (transport.type === 'stdio') return { host: programHost, context: null, secrets: at(secretsIn(transport.env), programHost) };
      const url = new URL(transport.url);
      const [host, port] = [hostnameOf(url), portOf(url)];
      return {
        host,
        context: { port, method: 'POST', scheme: url.protocol.slice(0, -1), private: allowPrivate?.(host, port) === true },
        secrets: [...at(secretsIn(transport.headers), host), ...at(secretsOfAuth(auth), URL.parse(auth?.issuer ?? '')?.hostname ?? host)],
      };
    },
    async open(server, onToolsChanged, signal, provider) {
      const { tenantId, definition } = server;
      check(tenantId, definition);
      const late = new AbortController();
      const cancel = timers.after(connectTimeoutMs, () =>
        late.abort(
          new NexusError('tool_failed', `the MCP server did not take part in a conversation within ${connectTimeoutMs} ms`, {
            details: { reason: 'connection' },
          }),
        ),
      );
      const within = AbortSignal.any([signal, late.signal]);
      try {
        const { transport } = definition;
        const hooks = { onToolsChanged, offers: offersOf(definition) };
        return transport.type === 'stdio'
          ? await openProgram(server.tenantId, transport, hooks, within)
          : await openHttp(server, transport, hooks, within, provider);
      } catch (error) {
        throw within.aborted && within.reason instanceof NexusError ? within.reason : error;
      } finally {
        cancel();
      }
    },
  };
}

/** Of a document of an authorization server. */
const maxDocumentBytes = 256 * 1024;
const maxDocumentValues = 5_000;
type OpenEgress = () => { readonly agent: ReturnType<typeof createEgressAgent>; end(): Promise<void> };

/** Opens a way out: one for each conversation, which ends with it. */
function createOpenEgress({ allowPrivate, isOwnListener, connectTimeoutMs, traffic }: ReachOptions): OpenEgress {
  const names = createNameResolver();
  return () => {
    const lifetime = new AbortController();
    const agent = createEgressAgent({
      resolve: (hostname, isGranted) => (isGranted ? names.ofOperator(hostname) : names.ofOutside(hostname, lifetime.signal)),
      ...(allowPrivate === undefined ? {} : { allowPrivate }),
      ...(isOwnListener === undefined ? {} : { isOwnListener }),
      ...{ connectTimeoutMs, traffic },
    });
    return {
      agent,
      async end() {
        lifetime.abort();
        await agent.destroy();
      },
    };
  };
}

function oauthOver(options: ReachOptions, openEgress: OpenEgress): OAuth {
  const { timers, secrets, allowPrivate, connectTimeoutMs } = options;
  return createOAuth({
    ...options,
    allowPrivate,
    timeoutMs: connectTimeoutMs,
    secretFor(tenantId, name) {
      const found = secrets.find((secret) => secret.name === name && secret.tenants.includes(tenantId));
      return found === undefined ? { value: '', hosts: [] } : { ...found, hosts: found.hosts.filter((host) => host !== programHost) };
    },
    openFetch() {
      const { agent, end } = openEgress();
      const few = { maxBytes: Math.min(maxDocumentBytes, options.maxResponseBytes), maxValues: maxDocumentValues };
      return { fetch: createEgressFetch({ agent, timers, answerTimeoutMs: connectTimeoutMs, ...few }), end };
    },
  });
}

/** What stands under `hosts` of a secret that programs may be given. */
const programHost = 'stdio';
type HttpTransport = Extract<McpServerDefinition['transport'], { type: 'http' }>;

function secretsIn(values: Readonly<Record<string, string | { readonly secret: string }>>): string[] {
  return Object.values(values).flatMap((value) => (typeof value === 'string' ? [] : [value.secret]));
}

function secretsOfAuth(auth: McpServerDefinition['auth']): string[] {
  return [auth?.clientSecret, auth?.privateKey].flatMap((each) => (each === undefined ? [] : [each.secret]));
}

function overHttp(
  url: URL,
  fetch: ReturnType<typeof createEgressFetch>,
  headers: Readonly<Record<string, string>>,
  authProvider: AuthProvider | undefined,
  time: Pick<ReachOptions, 'clock' | 'timers'>,
) {
  return ({ StreamableHTTPClientTransport }: typeof import('@modelcontextprotocol/client')): Transport =>
    new StreamableHTTPClientTransport(url, {
      fetch,
      requestInit: { headers },
      ...(authProvider === undefined ? {} : { authProvider }),
      reconnectionOptions: { initialReconnectionDelay: 500, maxReconnectionDelay: 10_000, reconnectionDelayGrowFactor: 2, maxRetries: 3 },
      reconnectionScheduler: paced(time),
    }) as Transport; // its optional members are written in another way, no more
}

/** So many streams are taken up again at once, and then one a second: when, says the server, and each could end at once. */
const reconnectionsAtOnce = 10;
const reconnectionMs = 1_000;
const longestPauseMs = 3_600_000;

function paced({ clock, timers }: Pick<ReachOptions, 'clock' | 'timers'>) {
  let paidUntil = Number.NEGATIVE_INFINITY;
  return (reconnect: () => void, delayMs: number) => {
    const now = clock.monotonic();
    paidUntil = Math.max(paidUntil, now - reconnectionsAtOnce * reconnectionMs) + reconnectionMs;
    return timers.after(Math.max(Math.min(delayMs, longestPauseMs), paidUntil - now), reconnect);
  };
}

function invalid(message: string): NexusError {
  return new NexusError('invalid_request', message);
}
