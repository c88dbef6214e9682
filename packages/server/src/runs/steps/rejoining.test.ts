import { describe, expect, it } from 'vitest';
import type { RunState, ToolCallState } from '#runs/journal';
import type { ToolDescriptor } from '#tools';
import { rejoinedTools } from './rejoining.ts';

const tool = { name: 'pay', effects: 'once', rejoinable: true } as ToolDescriptor;
const attempt = {
  ...{ attempt: 1, effects: 'once', input: { to: 'ada' }, idempotencyKey: 'call_1', reservationId: 'res_1', childRunId: null },
} as NonNullable<ToolCallState['attempt']>;
const call = { callId: 'call_1', name: 'pay', phase: { type: 'started' }, attempt } as ToolCallState;
const reserved: RunState['openReservations'] = { res_1: { toolCalls: 1, wallMs: 500 } };

const rejoined = (calls: readonly ToolCallState[], tools: readonly ToolDescriptor[] = [tool], openReservations = reserved) =>
  rejoinedTools({ tools }, { calls, openReservations } as RunState); // all that is read of it

describe('calls that go on without the process that began them', () => {
  it('are the same attempts, with what is reserved for them [verifies workers.restart]', () => {
    expect(rejoined([call])).toMatchObject([
      { begun: { attempt: 1, input: { to: 'ada' }, idempotencyKey: 'call_1', reserve: { reservationId: 'res_1' } }, heldWallMs: 500 },
    ]);
  });

  it.each<[string, ToolCallState, readonly ToolDescriptor[], RunState['openReservations']]>([
    ['one that has not begun', { ...call, phase: { type: 'requested' } }, [tool], reserved],
    ['a sub-agent', { ...call, attempt: { ...attempt, childRunId: 'run_2' } }, [tool], reserved],
    ['one whose tool is gone', call, [], reserved],
    ['one whose name is another tool’s by now', call, [{ ...tool, rejoinable: undefined } as unknown as ToolDescriptor], reserved],
    ['one whose tool has other effects by now', call, [{ ...tool, effects: 'none' }], reserved],
    ['one that was paid for already', call, [tool], {}],
    ['one with nothing reserved', { ...call, attempt: { ...attempt, reservationId: null } }, [tool], reserved],
  ])('are not %s', (_what, each, tools, open) => {
    expect(rejoined([each], tools, open)).toEqual([]);
  });
});
