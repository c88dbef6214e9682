import { afterEach, expect, it } from 'vitest';
import { completed, openTestRuns, type TestRuns } from '#runs/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

const checks = {
  throws(_schema: unknown, value: unknown) {
    if (value === null) return []; // asked before a model is
    throw new TypeError('no schema that anybody can use');
  },
  'answers with a promise that is rejected': () => Promise.reject(new Error('not valid')),
  'answers with a promise that never settles': () => new Promise(() => undefined),
  'answers with nothing': () => undefined,
};

it.each(Object.entries(checks))(
  'a check of the answer that %s fails the run and nothing else [verifies hostile.kill.schema]',
  async (_, check) => {
    const opened = await openTestRuns({
      agents: [{ name: 'typed', outputSchema: { type: 'object' } }],
      async *attempt() {
        yield completed('{}');
      },
    });
    runs = opened;
    Object.assign(opened.engine, { schemas: { check } });
    const [typed, other] = [await opened.start({ agent: 'typed' }), await opened.start({})];
    await opened.until(async () => (await opened.row(typed)).status === 'failed' && (await opened.row(other)).status === 'completed');
    expect(await opened.row(typed)).toMatchObject({ error: { code: 'output_invalid' }, resumable: true });
  },
);
