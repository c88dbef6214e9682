import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { completed, openTestRuns, type TestRuns } from '#runs/testing';
import type { Tool } from '#tools';
import { makeTool } from '#tools/testing';

let runs: TestRuns | undefined;
/** Rejections that nobody took. One of them ends a process. */
const unowned: unknown[] = [];
const note = (reason: unknown) => void unowned.push(reason);
beforeEach(() => {
  unowned.length = 0;
  process.on('unhandledRejection', note);
});
afterEach(async () => {
  await runs?.close();
  process.off('unhandledRejection', note);
  expect(unowned).toEqual([]);
});

async function open(tools: readonly Tool[] = []): Promise<TestRuns> {
  runs = await openTestRuns({
    tools: [makeTool({ name: 'work' }), ...tools],
    async *attempt({ request }) {
      const asks = request.tools.some(({ name }) => name === 'hostile') ? 'hostile' : 'work';
      yield request.messages.length > 1 ? completed('done') : completed({ name: asks });
    },
  });
  return runs;
}

const ended = ['completed', 'failed', 'cancelled'];

/** Parts of the engine that a run goes through, and what of them throws. The store is in `broken-store.test.ts`. */
const seams: readonly (readonly [part: string, method: string])[] = [
  ['policy', 'decide'],
  ['policy', 'check'],
  ['llm', 'attempt'],
  ['llm', 'resolve'],
  ['tools', 'execute'],
  ['hub', 'openLocal'],
  ['ids', 'next'],
  ['tools', 'list'],
  ['schemas', 'check'],
  ['logger', 'info'],
  ['logger', 'warn'],
  ['tracer', 'start'],
  ['metrics', 'modelCompleted'],
  ['metrics', 'toolCompleted'],
  ['metrics', 'budgetOperation'],
  ['metrics', 'policyDecision'],
  ['metrics', 'runFinished'],
];

describe('a seam of the engine', () => {
  it.each(seams)('that throws once, %s.%s, costs one run at most [verifies hostile.kill.seams]', async (part, method) => {
    for (const nth of [1, 2]) {
      const opened = await open();
      const engine = opened.engine as unknown as Record<string, Record<string, (...given: unknown[]) => unknown>>; // every part is an object of functions
      const whole = engine[part];
      const original = whole?.[method];
      if (whole === undefined || original === undefined) throw new Error(`there is no ${part}.${method}`);
      let calls = 0;
      // In the place of the part, which other engines may share.
      engine[part] = new Proxy(whole, {
        get(target, name) {
          const found: unknown = Reflect.get(target, name);
          if (name !== method) return typeof found === 'function' ? found.bind(target) : found;
          return (...given: unknown[]) => {
            calls += 1;
            if (calls === nth) throw new Error(`thrown from ${part}.${method}`);
            return original.apply(target, given);
          };
        },
      });
      const first = await opened.start({}).catch(() => null);
      const others = [await opened.start({}).catch(() => null), await opened.start({}).catch(() => null)];
      const ids = [first, ...others].filter((id) => id !== null);
      await opened.until(async () => (await Promise.all(ids.map(opened.row))).every(({ status }) => ended.includes(status)));
      const rows = await Promise.all(ids.map(opened.row));
      expect(rows.filter(({ status }) => status === 'completed').length).toBeGreaterThanOrEqual(2);
      await opened.close();
    }
  });
});

const cyclic: Record<string, unknown> = {};
cyclic.self = cyclic;
const boom = () => {
  throw new Error('thrown from a result');
};

const results: Readonly<Record<string, () => unknown>> = {
  'throws at once': boom,
  'throws nothing': () => {
    throw undefined;
  },
  rejects: () => Promise.reject(new Error('rejected')),
  'rejects without a reason': () => Promise.reject(undefined),
  'gives nothing': () => undefined,
  'gives a getter that throws': () => ({
    type: 'ok',
    get output() {
      return boom();
    },
  }),
  'gives a type that throws': () => ({
    get type() {
      return boom();
    },
  }),
  'gives a toJSON that throws': () => ({ type: 'ok', output: { toJSON: boom } }),
  'gives a proxy that throws': () => new Proxy({}, { get: boom, ownKeys: boom, has: boom }),
  'gives a thenable that throws': () => ({
    // biome-ignore lint/suspicious/noThenProperty: that is the attack
    then: boom,
  }),
  'gives a thenable that fails twice': () => ({
    // biome-ignore lint/suspicious/noThenProperty: that is the attack
    then(_: unknown, reject: (error: Error) => void) {
      reject(new Error('once'));
      boom();
    },
  }),
  'gives a bigint': () => ({ type: 'ok', output: { count: 10n } }),
  'gives a symbol': () => ({ type: 'ok', output: Symbol('x') }),
  'gives a function': () => ({ type: 'ok', output: boom }),
  'gives a cycle': () => ({ type: 'ok', output: cyclic }),
  'gives lone surrogates and zeros': () => ({ type: 'ok', output: '\ud800\u0000' }),
};

describe('a tool', () => {
  it.each(Object.entries(results))('that %s costs its own run at most [verifies hostile.kill.seams]', async (_, execute) => {
    const opened = await open([makeTool({ name: 'hostile', execute: execute as Tool['execute'] })]);
    const hostile = await opened.start({});
    await opened.until(async () => ended.includes((await opened.row(hostile)).status));
    expect(ended).toContain((await opened.row(hostile)).status);
  });
});
