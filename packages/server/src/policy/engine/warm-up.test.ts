import { createRequire } from 'node:module';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

const { cache, resolve } = createRequire(import.meta.url);
/** The build of Cedar that a question loads by itself when nothing was loaded before. */
const loadedByQuestion = resolve('@cedar-policy/cedar-wasm/nodejs');
const agentPolicy = { allow: ['fs_*'] };
let known: NodeJS.Module | undefined;

/** Policy as in a process that has just started. */
async function fresh() {
  vi.resetModules();
  const [{ createTestEngine, toolRequest }, { warmCedar }] = await Promise.all([import('#policy/testing'), import('#policy/compile')]);
  return { engine: createTestEngine(), toolRequest, warmCedar };
}

beforeEach(() => {
  known = cache[loadedByQuestion];
  delete cache[loadedByQuestion];
});

afterEach(() => {
  if (known === undefined) delete cache[loadedByQuestion];
  else cache[loadedByQuestion] = known;
});

it('Cedar that cannot be loaded ahead is loaded by the first question [verifies start.warm]', async () => {
  const { engine, toolRequest, warmCedar } = await fresh();
  await expect(warmCedar(async () => Buffer.from('no WebAssembly'))).rejects.toThrow(/magic word/);
  expect(engine.decide(toolRequest('fs_read', { agentPolicy })).effect).toBe('allow');
  expect(cache[loadedByQuestion]).toBeDefined();
});

it('Cedar that cannot be loaded at all denies [verifies start.warm]', async () => {
  const { engine, toolRequest } = await fresh();
  // Only what it exports is looked at: a build that does nothing.
  cache[loadedByQuestion] = { id: loadedByQuestion, filename: loadedByQuestion, loaded: true, exports: {} } as unknown as NodeJS.Module;
  const decision = engine.decide(toolRequest('fs_read', { agentPolicy }));
  expect(decision).toMatchObject({ effect: 'deny', reasons: ['evaluation-error'], errors: [expect.any(String)] });
});

it('a question after the engine was warmed up finds Cedar loaded [verifies start.warm]', async () => {
  const { engine, toolRequest } = await fresh();
  let pauses = 0;
  await engine.warm(async () => {
    pauses += 1;
  });
  expect(pauses).toBeGreaterThan(3);
  expect(engine.decide(toolRequest('fs_read', { agentPolicy })).effect).toBe('allow');
  expect(engine.decide(toolRequest('code_js', { agentPolicy })).effect).toBe('deny');
  expect(cache[loadedByQuestion]).toBeUndefined();
});
