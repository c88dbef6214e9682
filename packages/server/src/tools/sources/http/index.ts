import { HttpToolSource } from '@nexus-agent/protocol';
import { type Clock, createShares, NexusError, type SecretValues, type Timers, type WaitObserver } from '#core';
import type { ToolSourceRow } from '#storage';
import type { Tool } from '#tools/contract';
import { createNameResolver, type EgressOptions } from '#tools/net';
import type { HttpCallEnvironment } from './call.ts';
import { checkHttpSource } from './check-source.ts';
import { makeHttpTool } from './make-tool.ts';
import type { ToolSecrets } from './secrets.ts';

export type { ToolSecrets } from './secrets.ts';

export interface HttpToolsOptions extends Partial<Omit<EgressOptions, 'onConnected'>> {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly timers: Pick<Timers, 'soon' | 'after' | 'sleep'>;
  readonly secrets: ToolSecrets;
  readonly known: SecretValues;
  /** Calls at a time, see {@link createShares}. */
  readonly maxFetches?: number;
  readonly spareFetches?: number;
  readonly maxWaitMs?: number;
  readonly maxWaiting?: number;
  readonly observer?: WaitObserver;
  readonly idleTimeoutMs?: number;
}

export interface HttpTools {
  /** Makes the tools of a source that was put. */
  build(row: ToolSourceRow): Promise<readonly Tool[]>;
  /** What is wrong with one that is to be put is thrown as `invalid_request`; what comes back are warnings. */
  check(tenantId: string, definition: HttpToolSource): Promise<readonly string[]>;
}

const perTurn = 50;

/** Tools of which each is a request to somebody's API. */
export function createHttpApis(options: HttpToolsOptions): HttpTools {
  const { maxFetches: places = 64, spareFetches: spare = 32, maxWaitMs = 15_000, maxWaiting = 10_000, idleTimeoutMs = 15_000 } = options;
  const { clock, timers, observer, secrets, known, allowPrivate = () => false } = options;
  const environment: HttpCallEnvironment = {
    ...{ timers, secrets, known, idleTimeoutMs, egress: options },
    shares: createShares({
      ...{ clock, timers, observer, what: 'calls of HTTP tools', places, spare, maxWaitMs, maxWaiting },
      settings: { maxWaitMs: 'httpFetch.maxWaitMs', maxWaiting: 'httpFetch.maxWaiting' },
    }),
    names: createNameResolver(),
  };
  return {
    async build(row) {
      const parsed = HttpToolSource.safeParse(row.content);
      if (!parsed.success)
        throw new NexusError(
          'config_invalid',
          `the HTTP source ${row.name} was stored by another version and cannot be read; put it again`,
        );
      const tools: Tool[] = [];
      for (const tool of parsed.data.tools) {
        tools.push(makeHttpTool(environment, parsed.data, tool));
        if (tools.length % perTurn === 0) await timers.soon();
      }
      return tools;
    },
    check: (tenantId, definition) => checkHttpSource(definition, tenantId, { timers, secrets, allowPrivate }),
  };
}
