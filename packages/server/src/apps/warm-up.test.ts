import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import { startWarmUp, type WarmUpStep } from './warm-up.ts';

function warmingUp(steps: readonly WarmUpStep[], isBusy = () => false) {
  const { timers, advance } = createManualTime();
  const said: string[] = [];
  const logger = { info: (_: object, text: string) => void said.push(text), warn: (_: object, text: string) => void said.push(text) };
  return { advance, said, close: startWarmUp({ steps, timers, logger, isBusy }) };
}

const step = (name: string, did: string[], parts = 1): WarmUpStep => ({
  name,
  async run(pause) {
    for (let part = 0; part < parts; part++) {
      did.push(`${name}${part}`);
      await pause();
    }
  },
});

it('does the steps in turn, after the server has been ready for a moment', async () => {
  const did: string[] = [];
  const { advance, said, close } = warmingUp([step('a', did, 2), step('b', did)]);
  await advance(49);
  expect(did).toEqual([]);
  await advance(100);
  expect(did).toEqual(['a0', 'a1', 'b0']);
  expect(said).toEqual(['what a first run needs is ready']);
  await close();
});

it('does nothing while somebody is served, also in the middle of a step [verifies start.warm]', async () => {
  const did: string[] = [];
  let busy = true;
  const interrupted: WarmUpStep = {
    name: 'interrupted',
    async run(pause) {
      did.push('begun');
      busy = true;
      await pause();
      did.push('done');
    },
  };
  const { advance, close } = warmingUp([interrupted], () => busy);
  await advance(10_000);
  expect(did).toEqual([]);
  busy = false;
  await advance(10_000);
  expect(did).toEqual(['begun']);
  busy = false;
  await advance(200);
  expect(did).toEqual(['begun', 'done']);
  await close();
});

it('tells of a step that fails and goes on with the next [verifies start.warm]', async () => {
  const did: string[] = [];
  const broken = { name: 'broken', run: () => Promise.reject(new Error('no such file')) };
  const { advance, said, close } = warmingUp([broken, step('b', did)]);
  await advance(1_000);
  expect(did).toEqual(['b0']);
  expect(said[0]).toMatch(/could not be made ready/);
  await close();
});

it('ends before it has begun, and in the middle of a step, when it is closed [verifies start.warm]', async () => {
  const did: string[] = [];
  const early = warmingUp([step('a', did)]);
  await early.close();
  await early.advance(1_000);
  expect(did).toEqual([]);
  const late = warmingUp([step('a', did, 3), step('b', did)]);
  await late.advance(56);
  expect(did).toEqual(['a0']);
  await late.close();
  await late.advance(1_000);
  expect(did).toEqual(['a0']);
  expect(late.said).toEqual([]);
});
