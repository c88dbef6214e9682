import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentDefinition, type JournalEvent, type Run, TenantId, WireEvent } from '@nexus-agent/protocol';
import { expect } from 'vitest';
import { type ConfigInput, resolveConfig } from '../../../packages/server/src/apps/config/index.ts';
import { type AllInOne, startAllInOne } from '../../../packages/server/src/apps/index.ts';
import { systemClock } from '../../../packages/server/src/core/index.ts';
import { createModelService, type ModelSettings } from '../../../packages/server/src/llm/index.ts';
import { createOpenAiCompatibleProvider, createSimProvider } from '../../../packages/server/src/llm/providers/index.ts';
import { type Simulator, startSimulator } from '../../../packages/server/src/llm/sim/index.ts';
import type { Logger } from '../../../packages/server/src/telemetry/index.ts';
import type { Tool } from '../../../packages/server/src/tools/index.ts';
import { auditLedger } from '../../support/ledger-invariants.ts';

export const tenant = TenantId.parse('default');

/** An answer of the API. `body` is what it said, unchecked: tests look at the members that they are about. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: the tests assert on the shape
  readonly body: any;
}

export interface TestServer {
  readonly app: AllInOne;
  readonly sim: Simulator;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Stores an agent; by default one that may run everything on the simulator. */
  agent(name: string, definition?: Partial<AgentDefinition>): Promise<void>;
  session(body: Record<string, unknown>): Promise<string>;
  /** Starts a run in the background and gives its id. */
  start(body: Record<string, unknown>): Promise<string>;
  run(runId: string): Promise<Run>;
  /** Waits until the run has one of the statuses. */
  until(runId: string, ...statuses: Run['status'][]): Promise<Run>;
  /** Starts a run and waits for its end. */
  finish(body: Record<string, unknown>): Promise<{ run: Run; events: JournalEvent[] }>;
  events(runId: string): Promise<JournalEvent[]>;
  /** Waits until the run's log holds such an event. */
  event<T extends JournalEvent['type']>(runId: string, type: T, nth?: number): Promise<Extract<JournalEvent, { type: T }>>;
  /** Every run of every tenant replays to its state, its log has no gap, nothing stays reserved for an ended one, and the books balance. */
  verifyRuns(): Promise<void>;
  close(): Promise<void>;
}

export interface TestServerOptions {
  readonly tools?: readonly Tool[];
  readonly config?: ConfigInput;
  readonly dataDir?: string;
  /** Instead of a log of its own. */
  readonly logger?: Logger;
  readonly simulator?: Simulator;
  /** Where the providers `sim` and `sim-anthropic` send their requests; default: the simulator. */
  readonly modelUrl?: (simulatorUrl: string) => string;
  readonly retryDelayMs?: number;
  /** Of the agent that is there by itself. */
  readonly defaultModels?: readonly string[];
  /** Sizes by `provider/model`. */
  readonly models?: Readonly<Record<string, ModelSettings>>;
}

/** The whole platform on a port of its own, with the simulator behind the real provider clients. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'nexus-e2e-'));
  const sim = options.simulator ?? (await startSimulator());
  const url = options.modelUrl?.(sim.url) ?? sim.url;
  const timeouts = { firstByteTimeoutMs: 1_000, idleTimeoutMs: 250 };
  const llm = createModelService({
    providers: [
      createSimProvider({ name: 'sim', url, clock: systemClock, timeouts }),
      createSimProvider({ name: 'sim-anthropic', url, dialect: 'anthropic', clock: systemClock, timeouts }),
      createOpenAiCompatibleProvider({ name: 'unpriced', baseUrl: `${url}/v1`, clock: systemClock, timeouts }),
    ],
    clock: systemClock,
    random: Math.random,
    retry: { baseDelayMs: options.retryDelayMs ?? 5 },
    ...(options.models === undefined ? {} : { models: options.models }),
  });
  const flags: ConfigInput = {
    port: 0,
    dataDir,
    log: { level: 'silent' },
    drainMs: 2_000,
    ...options.config,
    auth: { local: 'open', ...options.config?.auth },
    runs: { pollMs: 40, heartbeatMs: 250, leaseMs: 4_000, ...options.config?.runs },
  };
  const app = await startAllInOne({
    config: resolveConfig({ env: {}, flags: flags as Record<string, never> }), // flags are a tree of plain values
    version: '0.0.0-test',
    models: { llm, defaultModels: options.defaultModels ?? ['sim/sim-large'] },
    tools: options.tools ?? [],
    ...(options.logger === undefined ? {} : { logger: options.logger }),
  });
  const seen = new Map<string, number>();
  let checked = 0;

  async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(`${app.url}${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = /json/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
  }

  async function created(path: string, body: unknown): Promise<Answer> {
    const answer = await call('POST', path, body);
    expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
    return answer;
  }

  const server: TestServer = {
    app,
    sim,
    call,
    async agent(name, definition = {}) {
      await created('/v1/agents', { name, models: ['sim/sim-large'], tools: ['*'], policy: { allow: ['*', 'net:*'] }, ...definition });
    },
    session: async (body) => (await created('/v1/sessions', body)).body.id,
    start: async (body) => (await created('/v1/runs', body)).body.id,
    async run(runId) {
      const { status, body } = await call('GET', `/v1/runs/${runId}`);
      expect(status).toBe(200);
      return body;
    },
    async until(runId, ...statuses) {
      const endAt = Date.now() + 15_000;
      for (let waitMs = 4; ; waitMs = Math.min(waitMs * 2, 50)) {
        const run = await server.run(runId);
        if (statuses.includes(run.status)) return run;
        if (Date.now() > endAt) throw new Error(`run ${runId} is ${run.status}, not ${statuses.join(' or ')}: ${JSON.stringify(run)}`);
        await pause(waitMs);
      }
    },
    async finish(body) {
      const runId = await server.start(body);
      const run = await server.until(runId, 'completed', 'failed', 'cancelled');
      return { run, events: await server.events(runId) };
    },
    async events(runId) {
      const events: JournalEvent[] = [];
      for (let after: string | null = '0'; after !== null; ) {
        const { body }: Answer = await call('GET', `/v1/runs/${runId}/events?limit=1000&after=${after}`);
        events.push(...body.data);
        after = body.nextCursor;
      }
      return events;
    },
    async event(runId, type, nth = 0) {
      const endAt = Date.now() + 15_000;
      for (;;) {
        const events = await server.events(runId);
        const found = events.filter((event) => event.type === type)[nth];
        if (found !== undefined) return found as Extract<JournalEvent, { type: typeof type }>; // filtered by type
        if (Date.now() > endAt) throw new Error(`run ${runId} has no ${type}: ${events.map((event) => event.type).join(' ')}`);
        await pause(8);
      }
    },
    async verifyRuns() {
      for (let cursor: string | undefined; ; ) {
        const page = await app.store.listRuns(tenant, {}, { limit: 200, ...(cursor === undefined ? {} : { cursor }) });
        for (const row of page.items) {
          if (seen.get(row.runId) === row.lastSeq) continue;
          const { body } = await call('POST', `/v1/runs/${row.runId}/replay`);
          expect(body, `replay of ${row.runId}`).toMatchObject({ matches: true });
          const events = await server.events(row.runId);
          expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1));
          for (const event of events) expect(WireEvent.safeParse(event).success, JSON.stringify(event)).toBe(true);
          if (row.leaseOwner === null && ['completed', 'failed', 'cancelled'].includes(row.status)) {
            const open = await app.store.listReservations(tenant, { runId: row.runId, state: 'open' });
            expect(open, `reservations of the ended run ${row.runId}`).toEqual([]);
            seen.set(row.runId, row.lastSeq);
          }
          checked += 1;
        }
        if (page.nextCursor === null) break;
        cursor = page.nextCursor;
      }
      expect(await auditLedger(app.store, tenant)).toEqual([]);
      expect(checked).toBeGreaterThan(0);
    },
    async close() {
      await app.close();
      await llm.close();
      if (options.simulator === undefined) await sim.close();
      if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true });
    },
  };
  return server;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export function typesOf(events: readonly JournalEvent[]): string[] {
  return events.map((event) => event.type);
}

/** The only event of a type; fails when there are none or several. */
export function one<T extends JournalEvent['type']>(events: readonly JournalEvent[], type: T): Extract<JournalEvent, { type: T }> {
  const found = all(events, type);
  expect(found, `${type} in ${typesOf(events).join(' ')}`).toHaveLength(1);
  return found[0] as Extract<JournalEvent, { type: T }>; // there is exactly one
}

export function all<T extends JournalEvent['type']>(events: readonly JournalEvent[], type: T): Extract<JournalEvent, { type: T }>[] {
  return events.filter((event): event is Extract<JournalEvent, { type: T }> => event.type === type);
}
