import { expect, it } from 'vitest';
import { countedCall } from './tool-counts.ts';

const tool = {
  name: 'find',
  version: 'v',
  description: '',
  inputSchema: {},
  effects: 'none',
  permissions: [],
  timeoutMs: 1,
  source: 'http:shop',
  tier: 'remote',
} as const;
const failed = (
  code: 'limit_exceeded' | 'rate_limited' | 'tool_unavailable' | 'tool_timeout' | 'tool_failed',
  began: boolean,
  details?: Record<string, unknown>,
) =>
  countedCall({
    toolName: 'find',
    tool,
    end: {
      type: 'failed',
      error: { code, message: '', ...(details === undefined ? {} : { details }) },
      began,
      durationMs: 50,
      waitedMs: 30,
    },
  });

it('tells refused calls from failed ones, and which limit was reached [verifies tools.metrics]', () => {
  expect(failed('rate_limited', false)).toMatchObject({
    outcome: 'refused',
    limit: 'queue',
    queueMs: 30,
    runMs: 20,
    source: 'http:shop',
    tier: 'remote',
  });
  expect(failed('tool_unavailable', false)).toMatchObject({ outcome: 'refused', limit: 'breaker', error: 'tool_unavailable' });
  expect(failed('limit_exceeded', true, { limit: 'fuel' })).toMatchObject({ outcome: 'failed', limit: 'fuel' });
  expect(failed('tool_timeout', true)).toMatchObject({ outcome: 'failed', limit: 'timeout' });
  expect(failed('tool_failed', true)).not.toHaveProperty('limit');
});

it('counts nothing under a name that no tool has [verifies tools.metrics]', () => {
  const end = { type: 'failed', error: { code: 'tool_not_found', message: '' }, began: false, durationMs: 0 } as const;
  expect(countedCall({ toolName: 'made up', tool: undefined, end })).toBeNull();
});
