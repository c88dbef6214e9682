import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomJournal, testLimits } from './journals.testkit.ts';
import { nextAction } from './next-action.ts';
import { initialState, type RunState, type ToolCallPhase, type ToolCallState } from './state.ts';
import { fold } from './transitions.ts';

const seeds = fc.integer({ min: 1, max: 2 ** 31 });
const none: ReadonlySet<string> = new Set();

function call(index: number, phase: ToolCallPhase, childRunId: string | null = null): ToolCallState {
  const attempt = { attempt: 1, effects: 'none' as const, input: {}, idempotencyKey: 'k', reservationId: null, childRunId };
  const started = phase.type === 'started';
  return {
    callId: `call_${index}`,
    index,
    providerCallId: `p${index}`,
    name: 't',
    input: {},
    invalidInput: null,
    phase,
    approval: null,
    attempt: started ? attempt : null,
  };
}

function running(calls: readonly ToolCallState[], more: Partial<RunState> = {}): RunState {
  const answer = { content: [], finishReason: 'tool_calls' as const, maxTokens: 1, clamped: false };
  return { ...initialState, status: 'running', step: 1, answer, calls, ...more };
}

const requested: ToolCallPhase = { type: 'requested' };
const started: ToolCallPhase = { type: 'started' };
const awaiting: ToolCallPhase = { type: 'awaiting', approvalId: 'apr_1', kind: 'tool_call', deadlineAt: '2026-01-01T00:00:00.000Z' };
const completed: ToolCallPhase = { type: 'completed', output: '', isError: false };

describe('what is done next', () => {
  it('depends on the state alone', () => {
    fc.assert(
      fc.property(seeds, fc.nat(), (seed, at) => {
        const { events } = randomJournal(seed);
        const state = fold(events.slice(0, at % (events.length + 1)));
        expect(nextAction(structuredClone(state), testLimits, none)).toEqual(nextAction(state, testLimits, none));
      }),
      { numRuns: 200 },
    );
  });

  it('never lets more tools run than the agent allows, sub-agents included [verifies tools.bounded]', () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 4 }), (seed, maxParallelTools) => {
        expect(randomJournal(seed, { ...testLimits, maxParallelTools }).mostRunning).toBeLessThanOrEqual(maxParallelTools);
      }),
      { numRuns: 300 },
    );
    expect(Math.max(...Array.from({ length: 100 }, (_, seed) => randomJournal(seed + 1).mostRunning))).toBe(3);
  });

  it('starts waiting calls as running ones end, and waits for sub-agents without holding the run', () => {
    const limits = { ...testLimits, maxParallelTools: 2 };
    const state = running([call(0, started), call(1, started), call(2, requested)]);
    expect(nextAction(state, limits, new Set(['call_0', 'call_1'])).type).toBe('busy');
    const one = running([call(0, completed), call(1, started), call(2, requested)]);
    expect(nextAction(one, limits, new Set(['call_1']))).toMatchObject({ type: 'tools', calls: [{ callId: 'call_2' }] });
    const children = running([call(0, started, 'run_a'), call(1, started, 'run_b'), call(2, requested)]);
    expect(nextAction(children, limits, none)).toMatchObject({ type: 'wait', childRuns: ['run_a', 'run_b'], approvals: [] });
    const mixed = running([call(0, awaiting), call(1, started, 'run_b')]);
    expect(nextAction(mixed, limits, none)).toMatchObject({
      type: 'wait',
      approvals: ['apr_1'],
      childRuns: ['run_b'],
      dueAt: Date.UTC(2026, 0, 1),
    });
    expect(nextAction(running([call(0, awaiting), call(1, started)]), limits, new Set(['call_1'])).type).toBe('busy');
  });

  it('asks for no second model call while one is between two attempts', () => {
    const model = {
      callId: 'call_m',
      seq: 5,
      attempt: 1,
      purpose: 'answer',
      provider: 'p',
      model: 'm',
      maxTokens: 1,
      clamped: false,
      reservationId: 'r',
      phase: 'failed',
    } as const;
    const state: RunState = { ...initialState, status: 'running', step: 1, model };
    expect(nextAction(state, testLimits, new Set(['call_m'])).type).toBe('busy');
    expect(nextAction(state, testLimits, none)).toEqual({ type: 'model', step: 1, newStep: false });
  });

  it('sees a loop only when calls and results repeat, and the step limit [verifies durability.limits]', () => {
    const ended = [call(0, completed)];
    const with3 = (signatures: string[], step = 3) => nextAction(running(ended, { signatures, step }), testLimits, none);
    expect(with3(['a', 'a', 'a'])).toMatchObject({ type: 'fail', error: { code: 'loop_detected' }, resumable: false });
    expect(with3(['a', 'b', 'a']).type).toBe('model');
    expect(with3(['a', 'a']).type).toBe('model');
    expect(with3(['a', 'b'], 5)).toMatchObject({ type: 'fail', error: { code: 'step_limit_exceeded' } });
    expect(with3(['a', 'b'], 4)).toEqual({ type: 'model', step: 5, newStep: true });
  });
});
