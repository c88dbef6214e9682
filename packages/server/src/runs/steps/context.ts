import type { AgentDefinition, ClientTool, RunId, SessionId, SessionReading, TenantId } from '@nexus-agent/protocol';
import { scopesOf } from '#budget';
import { type ChargeContext, originOf } from '#calls';
import { NexusError } from '#core';
import type { ModelTarget } from '#llm';
import { emptyTranscript, type Transcript, type Transcripts } from '#runs/journal';
import type { AgentVersionRow, RunRow, SessionRow } from '#storage';
import type { ToolDescriptor } from '#tools';
import type { Engine } from './engine.ts';
import { toolsOf } from './judge-call.ts';
import { type Origins, originsOf } from './origins.ts';

/** Where the definitions of agents come from. */
export interface AgentSource {
  /** The current version, or the one named. Throws `not_found`. */
  get(tenantId: TenantId, name: string, version?: string): Promise<AgentVersionRow>;
}

/** What stays the same while a run lives: read once when a worker takes it. */
export interface RunContext {
  readonly tenantId: TenantId;
  readonly runId: RunId;
  readonly sessionId: SessionId;
  readonly session: SessionRow;
  readonly agent: AgentDefinition;
  readonly agentVersion: string;
  /** Whose word its sub-agents are, as they stood when a worker took the run. */
  readonly origins: Origins;
  /** For whom it works. */
  readonly user: string | null;
  readonly project: string | null;
  readonly parent: { readonly runId: RunId; readonly depth: number } | null;
  readonly depth: number;
  /** Who acts, for whom, who pays, and which policies hold: the same for every call of the run. */
  readonly charge: ChargeContext;
  readonly tools: readonly ToolDescriptor[];
  readonly targets: readonly ModelTarget[];
  /** Those of the targets that the agent's definition lists; a request may name another. */
  readonly declaredTargets: ReadonlySet<ModelTarget>;
  /** Whose files it works on: the session's, or a fork's. */
  readonly filesOf: string;
  readonly before: Transcript;
  readonly deadlineAt: number | null;
  readonly traceparent: string | null;
}

export interface ContextSource {
  readonly row: Pick<RunRow, 'tenantId' | 'runId' | 'sessionId' | 'agent' | 'agentVersion' | 'model' | 'user' | 'project'>;
  readonly session: SessionRow;
  readonly principal: string;
  /** What the run is shown of its session. Null for one that does not say, which is shown its `history`. */
  readonly reading: SessionReading | null;
  readonly history: readonly string[];
  readonly parent: { readonly runId: string; readonly depth: number } | null;
  /** As the run was created; undefined: those of the session. */
  readonly filesOf: string | undefined;
  readonly deadlineAt: string | null;
  readonly traceparent: string | null;
  /** What whoever started the run executes. */
  readonly clientTools: readonly ClientTool[] | undefined;
}

/** Resolves everything a run refers to. Throws `not_found` or `model_not_found` when a part of it is gone. */
export async function createRunContext(
  engine: Engine,
  agents: AgentSource,
  transcripts: Transcripts,
  source: ContextSource,
): Promise<RunContext> {
  const { row, session } = source;
  const agentRow = await agents.get(row.tenantId, row.agent, row.agentVersion);
  const { definition } = agentRow;
  const declared = await engine.llm.resolve(definition.models, row);
  const [wanted] = row.model === null ? [] : await engine.llm.resolve([row.model], row);
  const others = declared.filter((target) => wanted === undefined || nameOf(target) !== nameOf(wanted));
  const targets = wanted === undefined ? others : [wanted, ...others];
  const models = new Set(declared.map(modelOf));
  const depth = source.parent?.depth ?? 0;
  const tools = await engine.tools.list(row.tenantId);
  const deadlineAt = source.deadlineAt === null ? null : Date.parse(source.deadlineAt);
  const user = row.user ?? session.user;
  const project = row.project ?? session.project;
  const parentRuns = source.parent === null ? [] : await ancestors(engine, row.tenantId, source.parent.runId as RunId); // a parent is a run
  return {
    tenantId: row.tenantId,
    runId: row.runId,
    sessionId: row.sessionId,
    session,
    agent: definition,
    agentVersion: row.agentVersion,
    user,
    project,
    parent: source.parent === null ? null : { runId: source.parent.runId as RunId, depth }, // a parent is a run
    depth,
    charge: {
      tenantId: row.tenantId,
      sessionId: row.sessionId,
      runId: row.runId,
      agent: definition.name,
      origin: originOf(agentRow),
      agentVersion: row.agentVersion,
      onBehalfOf: source.principal,
      agentPolicy: definition.policy ?? null,
      sessionPolicy: session.policy,
      scopes: scopesOf({
        tenantId: row.tenantId,
        project,
        agent: row.agent,
        user,
        session: row.sessionId,
        run: row.runId,
        parentRuns,
      }),
      deadlineAt,
    },
    origins: await originsOf(agents, agentRow),
    tools: toolsOf(definition, tools, { depth, maxDepth: engine.settings.maxDepth, clientTools: source.clientTools }),
    targets,
    declaredTargets: new Set(targets.filter((target) => models.has(modelOf(target)))),
    filesOf: source.filesOf ?? row.sessionId,
    before: await turnsBefore(transcripts, source),
    deadlineAt,
    traceparent: source.traceparent,
  };
}

function turnsBefore(transcripts: Transcripts, { row, reading, history }: ContextSource): Promise<Transcript> {
  if (reading !== null) return transcripts.before(row, reading);
  const [previous] = history;
  return previous === undefined ? Promise.resolve(emptyTranscript) : transcripts.chain(row.tenantId, previous as RunId); // history holds run ids
}

function nameOf({ provider, model }: ModelTarget): string {
  return `${provider}/${model}`;
}

/** The model itself: the simulator takes its settings in the name, after a `?`. */
function modelOf(target: ModelTarget): string {
  const name = nameOf(target);
  return target.simulator ? name.replace(/\?.*$/s, '') : name;
}

async function ancestors(engine: Engine, tenantId: TenantId, runId: RunId): Promise<readonly RunId[]> {
  const chain: RunId[] = [];
  let next: RunId | null = runId;
  while (next !== null && chain.length <= engine.settings.maxDepth) {
    chain.push(next);
    const row: RunRow | null = await engine.store.getRun(tenantId, next);
    if (row === null) throw new NexusError('not_found', `the parent run ${next} does not exist`);
    next = row.parentRunId;
  }
  return chain;
}
