import { type Clock, createSchemaValidator, NexusError, noSecrets, type Timers, type WaitObserver } from '#core';
import type { ToolCatalogue } from '#tools/catalogue';
import type { ToolService } from '#tools/contract';
import type { ToolLimitSettings } from './limits.ts';
import type { OutcomeRules } from './outcome.ts';
import type { CallQuestions } from './questions.ts';
import { type CallEnvironment, type FinishedCall, RunningCall } from './running-call.ts';
import { createToolGates } from './tool-gates.ts';

export interface ToolExecutionOptions extends Partial<Pick<OutcomeRules, 'maxOutputChars' | 'onFault' | 'secrets'>> {
  readonly catalogue: ToolCatalogue;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly folders: CallEnvironment['folders'];
  /** Where results go that are too long; left out, they are cut. */
  readonly artifacts?: CallEnvironment['artifacts'];
  readonly maxProgressChars?: number;
  readonly graceMs?: number;
  /** By name or pattern of tools. */
  readonly limits?: Readonly<Record<string, ToolLimitSettings>>;
  /** Hears of the queues of tools. */
  readonly turns?: WaitObserver;
  /** Hears how each call ended. Must not throw. */
  readonly onEnd?: (call: FinishedCall) => void;
}

const defaults = { maxOutputChars: 50_000, maxProgressChars: 200_000, graceMs: 1_000 };

/** Runs the tools of a catalogue in this process. */
export function createToolExecution(options: ToolExecutionOptions): Pick<ToolService, 'execute' | 'authorize' | 'close'> {
  const running = new Set<RunningCall>();
  const asking = new Map<string, CallQuestions>();
  let refusal: NexusError | undefined;
  let questions = 0;
  const environment: CallEnvironment = {
    ...defaults,
    onFault: undefined,
    onEnd: undefined,
    artifacts: undefined,
    secrets: noSecrets,
    ...options,
    schemas: createSchemaValidator(),
    gates: createToolGates({ clock: options.clock, timers: options.timers, settings: options.limits ?? {}, observer: options.turns }),
    running,
    asking,
    refusal: () => refusal,
    nextAuthorizationId: () => String(++questions),
  };
  return {
    execute: (call, { signal }) => new RunningCall(environment, call, signal),
    async authorize(answer) {
      asking.get(answer.authorizationId)?.answer(answer);
    },
    async close() {
      refusal = new NexusError('unavailable', 'the tools are shutting down');
      const calls = [...running];
      for (const call of calls) call.cancel('the tools are shutting down');
      await Promise.all(calls.map((call) => call.ended()));
    },
  };
}
