import {
  type Page,
  reservedName,
  type TenantId,
  type ToolPool,
  type ToolWorkerInfo,
  type WorkerHello,
  type WorkerMessage,
  type WorkerReceipt,
  type WorkerReports,
} from '@nexus-agent/protocol';
import { type Clock, NexusError, toTimestamp } from '#core';
import type { Principal } from '#identity';
import { type PageRequest, type Store, type ToolSourceRow, type ToolWorkerRow, viewPage } from '#storage';
import type { ToolService, WorkerDesk } from '#tools';

/** Processes of other people that serve tools. */
export interface ToolWorkers {
  /**
   * Connects a worker of the pool, see {@link WorkerDesk.connect}. Throws `conflict` for a tool whose name is taken, `invalid_request` for
   * tools that are not sound, and `quota_exceeded` for a pool too many.
   */
  connect(principal: Principal, pool: string, hello: WorkerHello, signal: AbortSignal): Promise<AsyncIterable<readonly WorkerMessage[]>>;
  report(principal: Principal, pool: string, reports: WorkerReports): Promise<WorkerReceipt>;
  /** Those that are connected to some node. */
  list(principal: Principal): Promise<readonly ToolWorkerInfo[]>;
  pools(principal: Principal, page: PageRequest): Promise<Page<ToolPool>>;
  /** The tools of the pool are gone; a worker that is connected stays, and puts them again when it connects anew. Throws `not_found`. */
  removePool(principal: Principal, pool: string): Promise<void>;
}

interface ToolWorkersParts {
  readonly desk: WorkerDesk;
  readonly store: Pick<Store, 'listToolWorkers' | 'listToolSources' | 'deleteToolSource'>;
  readonly tools: Pick<ToolService, 'list'>;
  readonly clock: Clock;
}

/** A worker counts as connected for so long after its node last said so. */
const seenMs = 45_000;
const maxListed = 2_000;

export function createToolWorkers({ desk, store, tools, clock }: ToolWorkersParts): ToolWorkers {
  const connected = (tenantId: TenantId) => store.listToolWorkers(tenantId, clock.now() - seenMs, maxListed);

  /** Told before anything is put: the tools of others stay what they are. */
  async function requireFree(tenantId: string, pool: string, hello: WorkerHello): Promise<void> {
    const own = `worker:${pool}`;
    const others = new Map(
      (await tools.list(tenantId)).flatMap(({ name, source = 'program' }) => (source === own ? [] : [[name, source]])),
    );
    for (const { name } of hello.tools) {
      const other = others.get(name);
      const reserved = reservedName(name);
      if (other === undefined && reserved === null) continue;
      if (other === undefined) throw new NexusError('invalid_request', `${name}: ${reserved}, such as ${pool}_${name}`.slice(0, 400));
      throw new NexusError(
        'conflict',
        `the name ${name} is taken by a tool of ${other}; take another, such as ${pool}_${name}`.slice(0, 400),
      );
    }
  }

  return {
    async connect(principal, pool, hello, signal) {
      await requireFree(principal.tenantId, pool, hello);
      return desk.connect(principal.tenantId, pool, hello, signal);
    },
    report: (principal, pool, reports) => desk.report(principal.tenantId, pool, reports),
    async list({ tenantId }) {
      const [{ items }, workers] = await Promise.all([
        store.listToolSources(tenantId, 'worker', { limit: maxListed }),
        connected(tenantId),
      ]);
      const hashes = new Map(items.map(({ name, content }) => [name, (content as { readonly hash: string }).hash])); // written by the desk
      return workers.map((row) => workerView(row, hashes.get(row.pool)));
    },
    async pools({ tenantId }, page) {
      const [rows, workers] = await Promise.all([store.listToolSources(tenantId, 'worker', page), connected(tenantId)]);
      return viewPage(rows, (row) => poolView(row, workers.filter(({ pool }) => pool === row.name).length));
    },
    async removePool({ tenantId }, pool) {
      if (!(await store.deleteToolSource(tenantId, 'worker', pool)))
        throw new NexusError('not_found', `there is no pool "${pool}"; nexus tools pools lists them`);
    },
  };
}

function workerView({ workerId, pool, about, connectedAt }: ToolWorkerRow, offered: string | undefined): ToolWorkerInfo {
  const { maxConcurrent, tools, hash, ...rest } = about as Record<string, unknown>; // written by the desk
  const texts = Object.entries(rest).flatMap(([key, value]) => (typeof value === 'string' ? [[key, value]] : []));
  return {
    ...{ workerId, pool, connectedAt: toTimestamp(connectedAt), about: Object.fromEntries(texts) },
    maxConcurrent: Number(maxConcurrent),
    tools: Array.isArray(tools) ? tools.map(String) : [],
    current: hash === offered,
  };
}

function poolView({ name, content, createdAt }: ToolSourceRow, workers: number): ToolPool {
  const { tools, waitMs } = content as { readonly tools: readonly { readonly name: string }[]; readonly waitMs: number }; // written by the desk
  return { name, tools: tools.map((tool) => tool.name), waitMs, workers, updatedAt: toTimestamp(createdAt) };
}
