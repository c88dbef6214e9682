import { afterEach, expect, it } from 'vitest';
import { completed, openTestRuns, type TestRuns } from '#runs/testing';

let runs: TestRuns | undefined;
afterEach(() => runs?.close());

it('a check of the answer that throws fails the run and nothing else [verifies hostile.kill.schema]', async () => {
  const opened = await openTestRuns({
    agents: [{ name: 'typed', outputSchema: { type: 'object' } }],
    async *attempt() {
      yield completed('{}');
    },
  });
  runs = opened;
  const check = (_schema: unknown, value: unknown) => {
    if (value === null) return []; // asked before a model is
    throw new TypeError('no schema that anybody can use');
  };
  Object.assign(opened.engine, { schemas: { check } });
  const [typed, other] = [await opened.start({ agent: 'typed' }), await opened.start({})];
  await opened.until(async () => (await opened.row(typed)).status === 'failed' && (await opened.row(other)).status === 'completed');
  expect(await opened.row(typed)).toMatchObject({ error: { code: 'output_invalid' }, resumable: true });
});
