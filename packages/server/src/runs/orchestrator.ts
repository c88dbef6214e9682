import type { TenantId } from '@nexus-agent/protocol';
import type { Bus } from '#bus';
import { settlesWithin } from '#core';
import { createWorker, type DispatchSettings, type Wake } from '#runs/dispatch';
import { createTranscripts } from '#runs/journal';
import { startChild } from '#runs/start';
import type { AgentSource, Engine } from '#runs/steps';
import { type ApprovedCall, checkApprovedCall } from './approved-call.ts';
import { createRuns, type Runs } from './service.ts';
import { createSessions, type Sessions } from './sessions.ts';

export interface OrchestratorOptions {
  readonly engine: Engine;
  readonly bus: Bus;
  readonly agents: AgentSource;
  /** Name of the agent that serves when none is named. */
  readonly defaultAgent: string;
  readonly dispatch: DispatchSettings;
  /** Told when a session was deleted, of which more is to be cleared away. */
  readonly onRemoved?: () => void;
}

export interface Orchestrator {
  readonly sessions: Sessions;
  readonly runs: Runs;
  /** Tells a run, wherever it is driven, that something it may wait for has changed. */
  readonly wake: Wake;
  /** Throws when a call would not run that a person is about to allow; see {@link checkApprovedCall}. */
  checkApprovedCall(call: ApprovedCall): Promise<void>;
  /** Begins to claim runs. Until then only what is read works. */
  start(): Promise<void>;
  readonly liveRuns: number;
  /** False while draining, or when the database does not answer within two seconds. */
  ready(): Promise<{ readonly ready: boolean; readonly reason?: string }>;
  /** Starts nothing new, lets calls in flight finish for `timeoutMs`, gives the rest up to other processes, and ends the lease; see `Dispatcher`. */
  drain(timeoutMs: number, onLeft?: () => void): Promise<void>;
}

const readyWithinMs = 2_000;

/** Joins the parts of the engine. Opens and closes nothing: the caller owns the store, the bus, the models and the tools. */
export function createOrchestrator(options: OrchestratorOptions): Orchestrator {
  const { engine, bus, agents, defaultAgent, dispatch, onRemoved = () => undefined } = options;
  const transcripts = createTranscripts(engine.store, engine.settings.transcriptChars);
  const dispatcher = createWorker({
    engine,
    bus,
    agents,
    transcripts,
    settings: dispatch,
    startChild: (parent, call) => startChild(engine, agents, parent, call),
  });
  const { wake } = dispatcher;
  return {
    sessions: createSessions({ engine, agents, defaultAgent, wake, onRemoved }),
    runs: createRuns({ engine, agents, transcripts, defaultAgent, dispatcher, maxDeaths: dispatch.maxDeaths }),
    wake,
    checkApprovedCall: (call) => checkApprovedCall({ engine, agents }, call),
    start: () => dispatcher.start(),
    get liveRuns() {
      return dispatcher.liveRuns;
    },
    async ready() {
      if (dispatcher.draining) return { ready: false, reason: 'this process is draining' };
      const asked = engine.store.listSessions('default' as TenantId, { limit: 1 }); // any tenant does: the question is whether the database answers
      const isAnswered = asked.then(
        () => true,
        () => false,
      );
      // Who asks has less patience than whoever wants work done.
      const inTime = await settlesWithin(engine.timers, isAnswered, readyWithinMs);
      if (!inTime || !(await isAnswered)) return { ready: false, reason: 'the database does not answer' };
      // One that is read-only or full answers what is read.
      return dispatcher.leaseStands ? { ready: true } : { ready: false, reason: 'the database takes no changes' };
    },
    drain(timeoutMs, onLeft) {
      engine.admission.close();
      return dispatcher.drain(timeoutMs, onLeft);
    },
  };
}
