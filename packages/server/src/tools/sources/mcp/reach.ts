import type { McpServerDefinition } from '@nexus-agent/protocol';
import { NexusError, type Timers } from '#core';
import { createEgressAgent, createNameResolver, type EgressOptions, hostnameOf, portOf, requireAllowedUrl } from '#tools/net';
import { connect, type McpConnection } from './connection.ts';
import { createEgressFetch } from './egress-fetch.ts';

/** A secret of the operator: it goes to these hosts only, and for these tenants. */
export interface McpSecret {
  readonly name: string;
  readonly value: string;
  readonly hosts: readonly string[];
  readonly tenants: readonly string[];
}

export interface ReachOptions extends Pick<EgressOptions, 'allowPrivate' | 'isOwnListener' | 'traffic'> {
  readonly timers: Timers;
  readonly version: string;
  readonly secrets: readonly McpSecret[];
  readonly connectTimeoutMs: number;
  readonly answerTimeoutMs: number;
  readonly maxTools: number;
  readonly maxResponseBytes: number;
  readonly maxResponseValues: number;
}

/** Where a server is, and what goes there: what policy is asked about before a call. */
export interface Destination {
  readonly host: string;
  readonly context: Readonly<Record<string, unknown>>;
  readonly secrets: readonly string[];
}

export interface Reach {
  destinationOf(definition: McpServerDefinition): Destination;
  /** Throws `invalid_request` for what could never be connected to, so that it is said when it is added. */
  check(tenantId: string, definition: McpServerDefinition): void;
  /** Connects. What it opens is closed with the connection, or at once when that fails. */
  open(tenantId: string, definition: McpServerDefinition, onToolsChanged: () => void, signal: AbortSignal): Promise<McpConnection>;
}

/** These belong to the connection, or to the protocol. */
const reservedHeaders =
  /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|keep-alive|accept|accept-encoding|content-type|last-event-id|mcp-.*|proxy-.*)$/i;
/** These hold what nobody should read: they are given by name only. */
const secretHeaders = /^(authorization|cookie|.*(api-?key|token|secret|password).*)$/i;

export function createReach(options: ReachOptions): Reach {
  const { timers, secrets, allowPrivate, isOwnListener, connectTimeoutMs, traffic } = options;
  const names = createNameResolver();
  const granted = allowPrivate === undefined ? {} : { allowPrivate };

  function headersFor(tenantId: string, { transport }: McpServerDefinition): Record<string, string> {
    const host = hostnameOf(new URL(transport.url));
    return Object.fromEntries(
      Object.entries(transport.headers).map(([name, value]) => {
        if (reservedHeaders.test(name)) throw invalid(`the header ${name} cannot be set`);
        if (typeof value !== 'string') return [name, secretFor(tenantId, value.secret, host)];
        if (secretHeaders.test(name))
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
    const url = URL.parse(definition.transport.url);
    if (url === null) throw invalid('the url is none; give one such as https://mcp.example.com/mcp');
    try {
      requireAllowedUrl(url, granted);
    } catch (error) {
      throw error instanceof NexusError && error.code === 'tool_input_invalid' ? invalid(error.message) : error;
    }
    headersFor(tenantId, definition);
  }

  return {
    check,
    destinationOf({ transport }) {
      const url = new URL(transport.url);
      const [host, port] = [hostnameOf(url), portOf(url)];
      return {
        host,
        context: { port, method: 'POST', scheme: url.protocol.slice(0, -1), private: allowPrivate?.(host, port) === true },
        secrets: Object.values(transport.headers).flatMap((value) => (typeof value === 'string' ? [] : [value.secret])),
      };
    },
    async open(tenantId, definition, onToolsChanged, signal) {
      check(tenantId, definition);
      const lifetime = new AbortController();
      const agent = createEgressAgent({
        resolve: (hostname, isGranted) => (isGranted ? names.ofOperator(hostname) : names.ofOutside(hostname, lifetime.signal)),
        ...granted,
        ...(isOwnListener === undefined ? {} : { isOwnListener }),
        ...{ connectTimeoutMs, traffic },
      });
      const end = async () => {
        lifetime.abort();
        await agent.destroy();
      };
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
        const connection = await connect(
          {
            ...options,
            url: new URL(definition.transport.url),
            headers: headersFor(tenantId, definition),
            fetch: createEgressFetch({
              ...{ agent, timers, answerTimeoutMs: options.answerTimeoutMs },
              ...{ maxBytes: options.maxResponseBytes, maxValues: options.maxResponseValues },
            }),
            onToolsChanged,
          },
          within,
        );
        return { ...connection, close: () => connection.close().finally(end) };
      } catch (error) {
        await end();
        throw within.aborted && within.reason instanceof NexusError ? within.reason : error;
      } finally {
        cancel();
      }
    },
  };
}

function invalid(message: string): NexusError {
  return new NexusError('invalid_request', message);
}
