import type { TenantId, WorkerHello, WorkerMessage, WorkerReceipt, WorkerReport, WorkerReports } from '@nexus-agent/protocol';
import { canonicalJson, type IdSource, NexusError, sha256 } from '#core';
import type { WorkerCallRow } from '#storage';
import { checkTools } from '#tools/catalogue';
import type { WorkerDesk } from '#tools/contract';
import type { SourceHeads } from '../followed-sources.ts';
import { PoolContent, queueOf, type WorkerAnswer } from './answer.ts';
import { WorkerConnection } from './connection.ts';
import type { CallNews } from './news.ts';
import { Presence } from './presence.ts';
import { WorkerRequest } from './request.ts';
import type { CallerParts } from './worker-call.ts';
import { poolTool } from './worker-source.ts';

export interface DeskSettings {
  /** A call goes to another worker when it was not reported for so long. */
  readonly leaseMs: number;
}

export interface DeskParts extends CallerParts {
  readonly ids: IdSource;
  readonly heads: SourceHeads;
  readonly nodeId: string;
  readonly settings: DeskSettings;
}

type WorkerOf = Pick<WorkerConnection, 'tenantId' | 'workerId'>;

/** Of the calls of one worker so many are taken at once. */
const maxTaken = 16;
/** How often queues are looked at of which nothing is heard. */
const lookMs = 1_000;

/** The desk of this process: workers that are connected to it, and the calls that they are given. */
export class Desk implements WorkerDesk {
  readonly #parts: DeskParts;
  readonly #connections = new Map<string, WorkerConnection>();
  /** Connections by tenant and queue. */
  readonly #queues = new Map<string, Set<WorkerConnection>>();
  /** Queues from which calls are being taken; `again` when there was news of them meanwhile. */
  readonly #serving = new Map<string, { again: boolean; done: Promise<void> }>();
  readonly #presence: Presence;
  readonly #endings: (() => void)[];
  #closed = false;

  constructor(parts: DeskParts) {
    this.#parts = parts;
    const { news, timers, store, clock, onError, nodeId } = parts;
    this.#presence = new Presence({ store, timers, clock, nodeId, onError, hasWorkers: () => this.#connections.size > 0 });
    this.#endings = [
      news.queues.subscribe(({ tenantId, queue }) => this.#serve(tenantId, queue)),
      news.calls.subscribe((message) => this.#hear(message)),
      timers.every(lookMs, () => void this.#lookAround().catch(onError)),
    ];
  }

  async connect(tenantId: string, pool: string, hello: WorkerHello, signal: AbortSignal): Promise<AsyncIterable<readonly WorkerMessage[]>> {
    if (this.#closed) throw new NexusError('unavailable', 'this process is shutting down; connect again');
    const { ids, clock, settings } = this.#parts;
    const content = { hash: sha256(canonicalJson(hello.tools)).slice(0, 16), waitMs: hello.waitMs, tools: hello.tools };
    this.#requireSound(pool, content);
    await this.#register(tenantId, pool, content, hello.workerId !== undefined);
    const workerId = hello.workerId ?? ids.next<string>('worker');
    const queue = queueOf(pool, content.hash);
    const connection = new WorkerConnection({ tenantId, pool, queue, workerId, maxConcurrent: hello.maxConcurrent });
    const now = clock.now();
    const about = { ...hello.about, maxConcurrent: hello.maxConcurrent, tools: hello.tools.map(({ name }) => name), hash: content.hash };
    await this.#presence.arrived({ tenantId: tenantId as TenantId, workerId, pool, about, connectedAt: now }); // of a principal
    signal.throwIfAborted();
    this.#enter(connection);
    connection.tell({ type: 'worker.ready', workerId, leaseMs: settings.leaseMs, heartbeatMs: Math.floor(settings.leaseMs / 3) });
    if (hello.workerId !== undefined) await this.#giveAgain(connection);
    const leave = () => this.#leave(connection);
    signal.addEventListener('abort', leave, { once: true });
    this.#serve(tenantId, queue);
    return this.#stream(connection, () => signal.removeEventListener('abort', leave));
  }

  /** What it held when its connection broke: it may never have heard of it. */
  async #giveAgain(connection: WorkerConnection): Promise<void> {
    const held = await this.#parts.store.heldToolCalls(connection.tenantId as TenantId, connection.workerId); // of a principal
    for (const call of held) if (call.pool === connection.queue) give(connection, call);
  }

  async *#stream(connection: WorkerConnection, cleanUp: () => void): AsyncGenerator<readonly WorkerMessage[]> {
    try {
      yield* connection.messages();
    } finally {
      cleanUp();
      this.#leave(connection);
    }
  }

  async report(tenantId: string, pool: string, { workerId, reports, leaving }: WorkerReports): Promise<WorkerReceipt> {
    const of = { tenantId: tenantId as TenantId, workerId }; // of a principal
    const { store, clock, settings } = this.#parts;
    const calls: WorkerReceipt['calls'] = [];
    if (leaving === true) this.#parts.news.calls.publish({ type: 'leaving', tenantId, workerId });
    const working = reports.filter(({ type }) => type === 'held' || type === 'output');
    const unique = new Map(working.map((report) => [`${report.callId} ${report.delivery}`, report]));
    const asked = [...unique.values()].map(({ callId, delivery }) => ({ callKey: callId, delivery }));
    const renewed = new Map(
      (await store.renewToolCalls(of, asked, clock.now() + settings.leaseMs)).map((call) => [`${call.callKey} ${call.delivery}`, call]),
    );
    for (const [key, { callId, delivery }] of unique) {
      const call = renewed.get(key);
      calls.push({ callId, delivery, state: call === undefined ? 'lost' : call.cancelled ? 'cancelled' : 'held' });
      if (call === undefined) this.#free(of, callId, delivery);
    }
    for (const report of reports) {
      const { callId: callKey, delivery } = report;
      if (report.type === 'output' && renewed.has(`${callKey} ${delivery}`))
        this.#parts.news.calls.publish({ type: 'output', tenantId, callKey, text: report.text });
      if (report.type === 'returned') {
        const isBack = await store.returnToolCall(of, { callKey, delivery });
        calls.push({ callId: callKey, delivery, state: isBack ? 'taken' : 'lost' });
        this.#free(of, callKey, delivery);
      }
      const answer = answerOf(report, pool);
      if (answer === null) continue;
      const taken = await store.endToolCall(of, { callKey, delivery }, answer);
      this.#free(of, callKey, delivery);
      this.#parts.news.calls.publish({ type: 'ended', tenantId, callKey, workerId });
      calls.push({ callId: callKey, delivery, state: taken ? 'taken' : 'lost' });
    }
    return { calls };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const end of this.#endings) end();
    for (const connection of this.#connections.values()) connection.end();
    await Promise.all([...this.#serving.values()].map(({ done }) => done));
    await this.#presence.close();
  }

  /** Says what is wrong with the tools as with those of a program. */
  #requireSound(pool: string, content: PoolContent): void {
    const touching = content.tools.find(({ permissions }) => permissions.some((permission) => /^(fs|code|agent)\./.test(permission)));
    if (touching !== undefined)
      throw new NexusError(
        'invalid_request',
        `tools: ${touching.name}: a worker has neither the files of a session nor its sandbox; name what it touches itself, such as "crm.read"`,
      );
    try {
      checkTools(content.tools.map((tool) => poolTool(this.#parts, pool, content, tool)));
    } catch (error) {
      if (error instanceof NexusError) throw new NexusError('invalid_request', error.message, { cause: error });
      throw error;
    }
  }

  /** The newest worker says which tools there are; one that comes back says nothing new. */
  async #register(tenantId: string, pool: string, content: PoolContent, comesBack: boolean): Promise<void> {
    const { store, clock, heads } = this.#parts;
    const tenant = tenantId as TenantId; // of a principal
    const known = await store.getToolSource(tenant, 'worker', pool);
    const before = known === null ? null : PoolContent.safeParse(known.content);
    if (before?.success === true && (comesBack || (before.data.hash === content.hash && before.data.waitMs === content.waitMs))) return;
    const version = sha256(canonicalJson(content));
    await store.putToolSource({ tenantId: tenant, kind: 'worker', name: pool, version, content, createdAt: clock.now() });
    heads.changed(tenantId);
  }

  #enter(connection: WorkerConnection): void {
    const { tenantId, queue, workerId } = connection;
    this.#connections.get(`${tenantId}/${workerId}`)?.end();
    this.#connections.set(`${tenantId}/${workerId}`, connection);
    const key = `${tenantId}/${queue}`;
    const others = this.#queues.get(key);
    if (others === undefined) this.#queues.set(key, new Set([connection]));
    else others.add(connection);
  }

  #leave(connection: WorkerConnection): void {
    connection.end();
    const { tenantId, queue, workerId } = connection;
    const key = `${tenantId}/${queue}`;
    const others = this.#queues.get(key);
    if (others?.delete(connection) === true && others.size === 0) this.#queues.delete(key);
    const own = `${tenantId}/${workerId}`;
    if (this.#connections.get(own) !== connection) return;
    this.#connections.delete(own);
    this.#presence.left(tenantId as TenantId, workerId); // of a principal
  }

  /** Gives what waits in a queue to whoever has room. At most one taking for each queue at a time. */
  #serve(tenantId: string, queue: string): void {
    const key = `${tenantId}/${queue}`;
    if (this.#closed || !this.#queues.has(key)) return;
    const running = this.#serving.get(key);
    if (running !== undefined) {
      running.again = true;
      return;
    }
    const state = { again: false, done: Promise.resolve() };
    this.#serving.set(key, state);
    state.done = this.#takeAll(tenantId, queue, state)
      .catch(this.#parts.onError)
      .finally(() => this.#serving.delete(key));
  }

  async #takeAll(tenantId: string, queue: string, state: { again: boolean }): Promise<void> {
    const { store, clock, settings } = this.#parts;
    for (;;) {
      const connection = mostRoom(this.#queues.get(`${tenantId}/${queue}`) ?? []);
      if (connection === null || this.#closed) return;
      state.again = false;
      const { workerId } = connection;
      const taken = await store.takeToolCalls(
        { tenantId: tenantId as TenantId, pool: queue, workerId }, // of a principal
        { limit: Math.min(maxTaken, connection.room), nowMs: clock.now(), leaseMs: settings.leaseMs },
      );
      for (const call of taken) give(connection, call);
      if (taken.length === 0 && !state.again) return;
    }
  }

  /** A worker has room again. */
  #free({ tenantId, workerId }: WorkerOf, callKey: string, delivery: number): void {
    const connection = this.#connections.get(`${tenantId}/${workerId}`);
    if (connection?.held.get(callKey)?.delivery !== delivery) return;
    connection.held.delete(callKey);
    this.#serve(tenantId, connection.queue);
  }

  #hear(message: CallNews): void {
    const { tenantId } = message;
    if (message.type === 'leaving') {
      this.#connections.get(`${tenantId}/${message.workerId}`)?.leave();
      return;
    }
    const { callKey } = message;
    const { waiting } = this.#parts;
    switch (message.type) {
      case 'output':
        waiting.find(tenantId, callKey)?.onOutput(message.text);
        return;
      case 'ended': {
        waiting.refresh(tenantId, callKey);
        const connection = this.#connections.get(`${tenantId}/${message.workerId}`);
        if (connection?.held.delete(callKey) === true) this.#serve(tenantId, connection.queue);
        return;
      }
      case 'cancelled':
        for (const connection of this.#connections.values()) {
          const held = connection.tenantId === tenantId ? connection.held.get(callKey) : undefined;
          if (held !== undefined)
            connection.tell({ type: 'call.cancelled', callId: callKey, delivery: held.delivery, reason: message.reason });
        }
    }
  }

  /** News may be lost: which queues have calls, and which calls are no more. */
  async #lookAround(): Promise<void> {
    const { store } = this.#parts;
    const pools = [...this.#queues.values()].flatMap((connections) => {
      const free = mostRoom(connections);
      return free === null ? [] : [{ tenantId: free.tenantId as TenantId, pool: free.queue }]; // of a principal
    });
    for (const { tenantId, pool } of await store.queuedToolPools(pools)) this.#serve(tenantId, pool);
    for (const connection of this.#connections.values()) await this.#reconcile(connection);
  }

  async #reconcile(connection: WorkerConnection): Promise<void> {
    if (connection.room > 0 || connection.held.size === 0) return;
    const states = await this.#parts.store.toolCallStates(connection.tenantId as TenantId, [...connection.held.keys()]); // as above
    const current = new Map(states.map((state) => [state.callKey, state]));
    for (const { callKey, delivery } of [...connection.held.values()]) {
      const state = current.get(callKey);
      if (state?.status !== 'held' || state.delivery !== delivery) this.#free(connection, callKey, delivery);
    }
  }
}

function give(connection: WorkerConnection, { callKey, delivery, request }: Pick<WorkerCallRow, 'callKey' | 'delivery' | 'request'>): void {
  const parsed = WorkerRequest.safeParse(request);
  connection.held.set(callKey, { callKey, delivery });
  if (parsed.success) connection.tell({ type: 'call', callId: callKey, delivery, ...parsed.data });
}

function mostRoom(connections: Iterable<WorkerConnection>): WorkerConnection | null {
  let best: WorkerConnection | null = null;
  for (const connection of connections) if (connection.room > (best?.room ?? 0)) best = connection;
  return best;
}

function answerOf(report: WorkerReport, pool: string): WorkerAnswer | null {
  switch (report.type) {
    case 'held':
    case 'output':
    case 'returned':
      return null;
    case 'completed': {
      const { output = null, costMicroUsd } = report;
      return { type: 'completed', output, ...(costMicroUsd === undefined ? {} : { costMicroUsd }) };
    }
    case 'failed': {
      const message = report.message === '' ? `the worker of "${pool}" says nothing of why it failed` : report.message;
      return { type: 'failed', error: { code: 'tool_failed', message, retryable: false } };
    }
    case 'stopped':
      return { type: 'stopped', message: report.message === '' ? `the worker of "${pool}" was cut off` : report.message };
  }
}
