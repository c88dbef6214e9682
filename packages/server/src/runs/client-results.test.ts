import type { ClientToolResult } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { createSchemaValidator, createSecretValues, NexusError } from '#core';
import type { Principal } from '#identity';
import type { AgentSource, Engine } from '#runs/steps';
import type { ApprovalRow } from '#storage';
import { giveClientResult } from './client-results.ts';

const pending = { kind: 'client_result', status: 'pending', callId: 'call_1', deadlineAt: 1_000, decision: null, answer: null };

/**
 * Gives a result where the row is read as `read`, and what is written finds `found` (null: nobody was faster). Answers what was written, whether the
 * run was woken, and the code of a refusal.
 */
async function give(
  result: ClientToolResult,
  { read = {}, found = null as object | null, now = 0, storeNow = 0, clientTools = [] as object[] } = {},
) {
  const seen = { written: null as unknown, woken: false, code: '' };
  const store = {
    getRun: async () => ({ runId: 'run_1' }),
    getApproval: async () => ({ ...pending, ...read }) as unknown as ApprovalRow,
    now: async () => storeNow,
    readEvents: async () => [{ type: 'run.created', data: JSON.stringify({ agent: 'a', agentVersion: 'v', clientTools }) }],
    async answerApproval(_tenant: string, _id: string, answer: { answer: unknown }) {
      if (found !== null) return { type: 'already', approval: { ...pending, ...found } };
      seen.written = answer.answer;
      return { type: 'decided', approval: pending };
    },
  };
  const engine = {
    store,
    clock: { now: () => now },
    secrets: createSecretValues(['hunter2!']),
    schemas: createSchemaValidator(),
  } as unknown as Engine;
  const agents = { get: async () => ({ definition: { tools: [] } }) } as unknown as AgentSource;
  const wake = () => {
    seen.woken = true;
  };
  try {
    await giveClientResult(
      { engine, agents, wake },
      { tenantId: 'acme', id: 'tab' } as unknown as Principal,
      { runId: 'run_1', callId: 'call_1' },
      result,
    );
  } catch (error) {
    if (!(error instanceof NexusError)) throw error;
    seen.code = error.code;
  }
  return seen;
}

describe('a result of a client', () => {
  it('is written and wakes its run, without secrets of the server [verifies client-tools.results]', async () => {
    const seen = await give({ output: 'the word is hunter2!' });
    expect(seen).toMatchObject({ woken: true, code: '' });
    expect(JSON.stringify(seen.written)).not.toContain('hunter2!');
  });

  it('that another process took in between is a conflict, unless it is the same [verifies client-tools.results]', async () => {
    const found = { status: 'decided', decision: 'answer', answer: { result: 'first' } };
    expect(await give({ output: 'second' }, { found })).toMatchObject({ written: null, woken: false, code: 'conflict' });
    expect(await give({ error: 'first' }, { found })).toMatchObject({ code: 'conflict' });
    expect(await give({ output: 'first' }, { found })).toMatchObject({ written: null, code: '' });
    expect(await give({ output: 'first' }, { found: { status: 'expired' } })).toMatchObject({ code: 'conflict' });
    expect(await give({ output: 'first' }, { found: { status: 'cancelled' } })).toMatchObject({ code: 'conflict' });
  });

  it('is the same when only secrets of the server were removed from it [verifies client-tools.results]', async () => {
    const { written } = await give({ output: 'the word is hunter2!' });
    const read = { status: 'decided', decision: 'answer', answer: written };
    expect(await give({ output: 'the word is hunter2!' }, { read })).toMatchObject({ code: '' });
  });

  it('is in time by the clock of the store, whatever that of this process says [verifies client-tools.bounded]', async () => {
    expect(await give({ output: 'x' }, { now: 5_000, storeNow: 999 })).toMatchObject({ code: '', woken: true });
    expect(await give({ output: 'x' }, { now: 5_000, storeNow: 1_000 })).toMatchObject({ code: 'conflict', written: null });
  });

  it('is taken by no row that asks a person [verifies client-tools.results]', async () => {
    expect(await give({ output: 'x' }, { read: { kind: 'question' } })).toMatchObject({ code: 'not_found', written: null });
  });
});
