import {
  type Agent,
  type Approval,
  type ChatRequest,
  idPrefixes,
  type Key,
  type Page,
  type Run,
  type Session,
} from '@nexus-agent/protocol';
import { canonicalJson, createIdSource, NexusError, systemClock, toTimestamp } from '#core';
import type { Principal } from '#identity';
import type { StreamFrame } from '#runs';
import type { ApiServices } from '../types.ts';
import { createFakeRun, type FakeRun } from './fake-run.ts';
import { decision, play, refuse, scenarioOf, settleApproval } from './scenarios.ts';

/** An orchestrator in memory: just enough behaviour for tests of what stands in front of it. */
interface FlatService {
  startRun: ApiServices['runs']['start'];
  getRun: ApiServices['runs']['get'];
  listRuns: ApiServices['runs']['list'];
  cancelRun: ApiServices['runs']['cancel'];
  resumeRun: ApiServices['runs']['resume'];
  forkRun: ApiServices['runs']['fork'];
  replayRun: ApiServices['runs']['replay'];
  readEvents: ApiServices['runs']['events'];
  follow: ApiServices['runs']['follow'];
  listRunDecisions: ApiServices['runs']['decisions'];
  createSession: ApiServices['sessions']['create'];
  listSessions: ApiServices['sessions']['list'];
  getSession: ApiServices['sessions']['get'];
  closeSession: ApiServices['sessions']['close'];
  listMessages: ApiServices['sessions']['messages'];
  listApprovals: ApiServices['approvals']['list'];
  getApproval: ApiServices['approvals']['get'];
  answerApproval: ApiServices['approvals']['answer'];
  listAgents: ApiServices['agents']['list'];
  putAgent: ApiServices['agents']['put'];
  getAgent: ApiServices['agents']['get'];
  listModels: ApiServices['models']['list'];
  listTools: ApiServices['tools']['list'];
  executeTool: ApiServices['tools']['execute'];
  setBudget: ApiServices['budgets']['set'];
  listBudgets: ApiServices['budgets']['list'];
  usage: ApiServices['budgets']['usage'];
  createKey: ApiServices['keys']['create'];
  listKeys: ApiServices['keys']['list'];
  revokeKey: ApiServices['keys']['revoke'];
  authenticate: ApiServices['keys']['authenticate'];
}

export interface FakeRunService extends FlatService {
  readonly services: ApiServices;
  readonly greeting: string;
  ready(): Promise<{ ready: boolean; reason?: string }>;
  /** Frames that `follow` has handed out, over all readers. */
  readonly framesServed: () => number;
  readonly liveFollowers: () => number;
  readonly runOf: (runId: string) => FakeRun;
  setReady(reason: string | null): void;
  addKey(secret: string, principal: Principal): void;
}

export function createFakeRunService(): FakeRunService {
  const ids = createIdSource(systemClock);
  const sessions = new Map<string, { tenant: string; session: Session }>();
  const runs = new Map<string, { tenant: string; run: FakeRun; text: string }>();
  const approvals = new Map<string, { tenant: string; approval: Approval }>();
  const keys = new Map<string, Key>();
  const secrets = new Map<string, Principal>();
  const agents = new Map<string, Agent>();
  const idempotent = new Map<string, { request: string; value: unknown }>();
  let framesServed = 0;
  let followers = 0;
  let notReady: string | null = null;

  const now = () => toTimestamp(systemClock.now());
  putAgentRow({ name: 'chat', description: 'General help', models: ['sim/sim-small'] }, 'built-in');

  function putAgentRow(definition: Partial<Agent['definition']> & { name: string; models: string[] }, source: Agent['source']): Agent {
    const whole = {
      description: '',
      instructions: '',
      tools: [],
      subagents: [],
      maxSteps: 25,
      maxParallelTools: 8,
      maxOutputTokens: 4096,
      timeoutMs: 600_000,
      approvalTimeoutMs: 86_400_000,
      ...definition,
    };
    const agent: Agent = { name: whole.name, version: 'agv_1', createdAt: '2026-01-01T00:00:00.000Z', source, definition: whole };
    agents.set(agent.name, agent);
    return agent;
  }

  /** The first use of a key makes; a later one finds. */
  function once<T>(principal: Principal, key: string | undefined, request: unknown, make: () => T): { value: T; created: boolean } {
    if (key === undefined) return { value: make(), created: true };
    const name = `${principal.tenantId} ${key}`;
    const text = canonicalJson(request);
    const before = idempotent.get(name);
    if (before === undefined) {
      const value = make();
      idempotent.set(name, { request: text, value });
      return { value, created: true };
    }
    if (before.request !== text) throw new NexusError('idempotency_conflict', `the idempotency key ${key} was used for another request`);
    return { value: before.value as T, created: false }; // stored above under the same key by the same kind of call
  }

  function own<T extends { tenant: string }>(map: Map<string, T>, principal: Principal, id: string, noun: string): T {
    const found = map.get(id);
    if (found === undefined || found.tenant !== principal.tenantId) throw new NexusError('not_found', `there is no ${noun} ${id}`);
    return found;
  }

  function paged<T>(items: readonly T[], { limit, cursor }: { limit: number; cursor?: string }): Page<T> {
    const start = cursor === undefined ? 0 : Number(cursor);
    const end = start + limit;
    return { data: items.slice(start, end), nextCursor: end < items.length ? String(end) : null };
  }

  function ofTenant<T extends { tenant: string }>(map: Map<string, T>, principal: Principal): T[] {
    return [...map.values()].filter(({ tenant }) => tenant === principal.tenantId);
  }

  function createSession(principal: Principal, request: Parameters<FlatService['createSession']>[1]): Session {
    const { budget, agent, ...rest } = request;
    if (agent !== undefined && !agents.has(agent)) throw new NexusError('not_found', `there is no agent ${agent}`);
    const session: Session = {
      id: ids.next('session'),
      status: 'active',
      agent: agent ?? 'chat',
      agentVersion: 'agv_1',
      budget: { limit: budget ?? {}, spent: {}, reserved: {} },
      ...rest,
      createdAt: now(),
    };
    sessions.set(session.id, { tenant: principal.tenantId, session });
    return session;
  }

  function requestApproval(principal: Principal, run: FakeRun): Approval {
    const approval: Approval = {
      id: ids.next('approval'),
      runId: run.run.id,
      sessionId: run.run.sessionId,
      kind: 'tool_call',
      status: 'pending',
      toolName: 'fs_write',
      arguments: { path: 'a.txt', text: 'hello' },
      choices: ['approve', 'deny'],
      defaultDecision: 'deny',
      deadlineAt: '2030-01-01T00:00:00.000Z',
      createdAt: '2026-01-01T00:00:00.000Z',
    };
    approvals.set(approval.id, { tenant: principal.tenantId, approval });
    return approval;
  }

  function start(principal: Principal, request: Partial<ChatRequest>, text: string): FakeRun {
    const sessionId = request.sessionId ?? createSession(principal, request.agent === undefined ? {} : { agent: request.agent }).id;
    own(sessions, principal, sessionId, 'session');
    const run = createFakeRun({ id: ids.next('run'), sessionId, agent: request.agent ?? 'chat' });
    runs.set(run.run.id, { tenant: principal.tenantId, run, text });
    play(run, text, () => requestApproval(principal, run));
    return run;
  }

  const service: Omit<FakeRunService, 'services'> = {
    framesServed: () => framesServed,
    liveFollowers: () => followers,
    runOf(runId) {
      const found = runs.get(runId);
      if (found === undefined) throw new Error(`no run ${runId}`);
      return found.run;
    },
    setReady: (reason) => {
      notReady = reason;
    },
    addKey(secret, principal) {
      secrets.set(secret, principal);
      const id = ids.next<string>('key');
      keys.set(id, { id, name: 'test', tenant: principal.tenantId, scopes: [...principal.scopes], createdAt: now() });
    },
    greeting: 'Hello! Who are you?',
    ready: async () => (notReady === null ? { ready: true } : { ready: false, reason: notReady }),

    async createSession(principal, request, { idempotencyKey }) {
      const { value, created } = once(principal, idempotencyKey, request, () => createSession(principal, request));
      return { session: value, created };
    },
    getSession: async (principal, id) => own(sessions, principal, id, 'session').session,
    listSessions: async (principal, page) =>
      paged(
        ofTenant(sessions, principal).map(({ session }) => session),
        page,
      ),
    async closeSession(principal, id) {
      const entry = own(sessions, principal, id, 'session');
      entry.session = { ...entry.session, status: 'closed' };
    },
    async listMessages(principal, id, page) {
      own(sessions, principal, id, 'session');
      const mine = ofTenant(runs, principal).filter(({ run }) => run.run.sessionId === id);
      return paged(
        mine.map(({ run, text }) => ({
          runId: run.run.id,
          seq: 1,
          at: run.run.createdAt,
          message: { role: 'user' as const, content: [{ type: 'text' as const, text }] },
        })),
        page,
      );
    },

    async startRun(principal, request, { idempotencyKey }) {
      const text = typeof request.input === 'string' ? request.input : 'parts';
      refuse(text);
      const { value, created } = once(principal, idempotencyKey, request, () => start(principal, request, text));
      return { run: value.run, created };
    },
    getRun: async (principal, id) => own(runs, principal, id, 'run').run.run,
    listRuns: async (principal, { sessionId, status }, page) =>
      paged(
        ofTenant(runs, principal)
          .map(({ run }) => run.run)
          .filter(
            (run: Run) => (sessionId === undefined || run.sessionId === sessionId) && (status === undefined || run.status === status),
          ),
        page,
      ),
    async cancelRun(principal, id, reason = 'cancelled by request') {
      const { run } = own(runs, principal, id, 'run');
      if (!['completed', 'failed', 'cancelled'].includes(run.run.status)) {
        run.update({ status: 'cancelled' });
        run.append('run.cancelled', { reason, totals: run.run.totals, stateHash: 'a1b2' });
      }
      return run.run;
    },
    async resumeRun(principal, id) {
      const { run } = own(runs, principal, id, 'run');
      if (run.run.resumable !== true) throw new NexusError('conflict', `run ${id} is ${run.run.status} and cannot be resumed`);
      run.update({ status: 'queued', resumable: false });
      return run.run;
    },
    async forkRun(principal, id, request, { idempotencyKey }) {
      const { text } = own(runs, principal, id, 'run');
      const { value, created } = once(principal, idempotencyKey, { id, ...request }, () => start(principal, {}, text));
      return { run: value.run, created };
    },
    async replayRun(principal, id) {
      const { run } = own(runs, principal, id, 'run');
      return { runId: id, events: run.journal.length, status: run.run.status, stateHash: 'a1b2', matches: true };
    },
    async readEvents(principal, id, { after, limit }) {
      const { journal } = own(runs, principal, id, 'run').run;
      const events = journal.slice(after, after + limit);
      return { events, nextAfter: after + limit < journal.length ? after + limit : null };
    },
    async *follow(principal, id, cursor, { signal }) {
      const { run, text } = own(runs, principal, id, 'run');
      followers += 1;
      try {
        if (scenarioOf(text) === 'break') {
          yield [frame('1', 'run.created', { type: 'run.created' })];
          throw new Error('secret internals');
        }
        const source = scenarioOf(text) === 'flood' ? flood(id) : run.follow(cursor, signal);
        for await (const batch of source) {
          if (signal.aborted) return;
          framesServed += batch.length;
          yield batch;
        }
      } finally {
        followers -= 1;
      }
    },
    listRunDecisions: async (principal, id, page) => {
      own(runs, principal, id, 'run');
      return paged([decision], page);
    },

    listApprovals: async (principal, { status }, page) =>
      paged(
        ofTenant(approvals, principal)
          .map(({ approval }) => approval)
          .filter((approval) => status === undefined || approval.status === status),
        page,
      ),
    getApproval: async (principal, id) => own(approvals, principal, id, 'approval').approval,
    async answerApproval(principal, id, answer) {
      const entry = own(approvals, principal, id, 'approval');
      if (entry.approval.status !== 'pending') throw new NexusError('conflict', `approval ${id} is already ${entry.approval.status}`);
      if (!entry.approval.choices.includes(answer.decision)) {
        throw new NexusError('invalid_request', `decision: expected ${entry.approval.choices.join(' or ')}, got ${answer.decision}`);
      }
      entry.approval = {
        ...entry.approval,
        status: 'decided',
        decision: answer.decision,
        decidedBy: principal.id,
        ...(answer.arguments === undefined ? {} : { arguments: answer.arguments }),
        ...(answer.note === undefined ? {} : { note: answer.note }),
      };
      settleApproval(own(runs, principal, entry.approval.runId, 'run').run, entry.approval);
      return entry.approval;
    },

    listAgents: async (_principal, page) => paged([...agents.values()], page),
    async getAgent(_principal, name) {
      const agent = agents.get(name);
      if (agent === undefined) throw new NexusError('not_found', `there is no agent ${name}`);
      return agent;
    },
    putAgent: async (_principal, definition) => putAgentRow(definition, 'api'),
    listTools: async () => [
      {
        name: 'fs_read',
        description: 'Read a file of the session',
        inputSchema: { type: 'object', properties: { path: { type: 'string' } }, required: ['path'] },
        effects: 'none',
        permissions: ['fs.read'],
        timeoutMs: 10_000,
      },
    ],
    async executeTool(principal, name, request, signal) {
      own(sessions, principal, request.sessionId, 'session');
      if (name !== 'fs_read') throw new NexusError('tool_not_found', `there is no tool ${name}; there is fs_read`);
      signal.throwIfAborted();
      return { status: 'ok', output: `read ${String(request.input.path)}`, durationMs: 1 };
    },
    listModels: async () => [
      {
        id: 'sim/sim-small',
        provider: 'sim',
        contextTokens: 100_000,
        simulator: true,
        price: { inputMicroUsdPerMillion: 1_000_000, outputMicroUsdPerMillion: 4_000_000 },
      },
    ],
    listBudgets: async (_principal, { scope }, page) =>
      paged(
        [
          {
            scope: scope ?? { kind: 'tenant', id: 'default' },
            unit: 'costMicroUsd',
            window: 'month',
            period: '2026-01',
            limit: 5_000_000,
            spent: 1234,
            reserved: 0,
          },
        ],
        page,
      ),
    setBudget: async (_principal, request) => ({ ...request, period: '2026-01', spent: 0, reserved: 0 }),
    usage: async () => [{ day: '2026-01-01', settlements: 2, costMicroUsd: 1234, tokens: 120, toolCalls: 1, wallMs: 50 }],

    async createKey(principal, request, options) {
      const { value, created } = once(principal, options?.idempotencyKey, request, (): Key => {
        const id = ids.next<string>('key');
        const secret = `nx_${id.slice(idPrefixes.key.length + 1)}_secret`;
        const key: Key = { id, name: request.name, tenant: principal.tenantId, scopes: request.scopes, createdAt: now() };
        keys.set(id, key);
        secrets.set(secret, { ...principal, id, scopes: request.scopes });
        return { ...key, secret };
      });
      if (created) return value;
      const { secret: _, ...rest } = value;
      return rest;
    },
    listKeys: async (principal, page) =>
      paged(
        [...keys.values()].filter((key) => key.tenant === principal.tenantId),
        page,
      ),
    async revokeKey(_principal, id) {
      const key = keys.get(id);
      if (key === undefined) throw new NexusError('not_found', `there is no key ${id}`);
      keys.set(id, { ...key, revokedAt: now() });
    },
    authenticate: async (secret) => secrets.get(secret) ?? null,
  };
  const services: ApiServices = {
    runs: {
      start: service.startRun,
      get: service.getRun,
      list: service.listRuns,
      cancel: service.cancelRun,
      resume: service.resumeRun,
      fork: service.forkRun,
      replay: service.replayRun,
      events: service.readEvents,
      follow: service.follow,
      decisions: service.listRunDecisions,
    },
    sessions: {
      create: service.createSession,
      list: service.listSessions,
      get: service.getSession,
      close: service.closeSession,
      messages: service.listMessages,
    },
    approvals: { list: service.listApprovals, get: service.getApproval, answer: service.answerApproval },
    agents: { list: service.listAgents, put: service.putAgent, get: service.getAgent },
    models: { list: service.listModels },
    tools: { list: service.listTools, execute: service.executeTool },
    budgets: { set: service.setBudget, list: service.listBudgets, usage: service.usage },
    keys: { create: service.createKey, list: service.listKeys, revoke: service.revokeKey, authenticate: service.authenticate },
  };
  return { ...service, services };
}

function frame(id: string, event: StreamFrame['event'], body: object): StreamFrame {
  return { id, event, data: JSON.stringify(body) };
}

/** Frames without end, 64 KB a batch, as fast as they are taken. */
async function* flood(runId: string): AsyncIterable<readonly StreamFrame[]> {
  const text = 'x'.repeat(64_000);
  for (let seq = 1; ; seq++) yield [frame(String(seq), 'run.created', { type: 'run.created', runId, seq, text })];
}
