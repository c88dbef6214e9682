import type { RunId, TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import type { Executor } from '#runs/drive';
import type { ClaimedRun } from '#storage';
import type { Logger } from '#telemetry';
import { createAlone } from './alone.ts';
import { runKey } from './keys.ts';
import { createPlaces } from './places.ts';

const quiet = { warn: () => undefined, error: () => undefined, info: () => undefined, debug: () => undefined } as unknown as Logger; // nobody reads it here
const suspectOf = (name: string) => ({ tenantId: 'default' as TenantId, runId: `run_${name}` as RunId, epoch: 2, deaths: 2 }) as ClaimedRun; // what is looked at of it

/** A worker that drives `others` runs, and suspects that end when told. */
function open({ suspects, others = 0 }: { suspects: readonly string[]; others?: number }) {
  const time = createManualTime();
  const waiting = [...suspects];
  const log: string[] = [];
  const ends = new Map<string, () => void>();
  let live = others;
  const places = createPlaces({ most: 10, live: () => live, freed: () => undefined });
  const alone = createAlone({
    ...{ clock: time.clock, timers: time.timers, logger: quiet, workerId: 'w', places, aloneMs: 1_000, setAside: 13 },
    store: {
      hasSuspect: async (setAside) => setAside === 13 && waiting.length > 0,
      async claimSuspect(_, isAlone, setAside) {
        const name = setAside === 13 ? waiting.shift() : undefined;
        if (name === undefined) return null;
        log.push(`${name}${isAlone ? '' : ' beside others'}`);
        return suspectOf(name);
      },
      clearSuspect: async ({ runId }) => void log.push(`clear ${runId.slice(4)}`),
    },
    async take({ runId }) {
      live += 1;
      const { promise, resolve } = Promise.withResolvers<'ended'>();
      ends.set(runId.slice(4), () => {
        live -= 1;
        resolve('ended');
      });
      return { done: promise } as unknown as Executor; // only its end is awaited
    },
    handOver: () => {
      log.push('hand over');
      live = Math.max(0, live - others);
    },
    opened: () => log.push('opened'),
  });
  const wrote = (name: string, type: 'tool.completed' | 'tool.started') => alone.wrote(runKey(suspectOf(name)), [{ type } as never]); // only the type is looked at
  const leave = () => {
    live = 0;
  };
  return { time, alone, log, ends, wrote, leave };
}

it('drives one suspect after the other, and nothing else meanwhile [verifies hostile.kill.poisonous]', async () => {
  const { time, alone, log, ends } = open({ suspects: ['a', 'b'] });
  await alone.look();
  await time.advance(1);
  expect([alone.isClosed, log]).toEqual([true, ['a']]);
  await alone.look();
  expect(log).toEqual(['a']);
  ends.get('a')?.();
  await time.advance(50);
  expect([alone.isClosed, log]).toEqual([true, ['a', 'b']]);
  ends.get('b')?.();
  await time.advance(50);
  expect([alone.isClosed, log]).toEqual([false, ['a', 'b', 'opened']]);
});

it('lets others in beside one that neither gets on nor kills', async () => {
  const { time, alone, log } = open({ suspects: ['a', 'b'] });
  await alone.look();
  await time.advance(999);
  expect(alone.isClosed).toBe(true);
  await time.advance(100);
  expect([alone.isClosed, log]).toEqual([false, ['a', 'clear a', 'opened']]);
});

it('is done with one once a call of it has an outcome, and hands it over before the next', async () => {
  const { time, alone, log, wrote, leave } = open({ suspects: ['a', 'b'] });
  await alone.look();
  await time.advance(1);
  wrote('a', 'tool.started');
  await time.advance(10);
  expect(log).toEqual(['a']);
  wrote('a', 'tool.completed');
  await time.advance(1);
  expect(log).toEqual(['a', 'hand over']);
  leave();
  await time.advance(50);
  expect(log.at(-1)).toBe('b');
});

it('serves others first where it is busy, and then hands over what it drives', async () => {
  const { time, alone, log } = open({ suspects: ['a'], others: 4 });
  for (let passed = 0; passed < 2_900; passed += 100) {
    await alone.look();
    await time.advance(100);
  }
  expect([alone.isClosed, log]).toEqual([false, []]);
  await time.advance(200);
  await alone.look();
  await time.advance(50);
  expect([alone.isClosed, log]).toEqual([true, ['hand over', 'a']]);
});

it('takes none up once it is stopped, and waits for the one it has', async () => {
  const { time, alone, log, ends } = open({ suspects: ['a', 'b'] });
  await alone.look();
  await time.advance(1);
  let isStopped = false;
  void alone.stop().then(() => {
    isStopped = true;
  });
  await time.advance(1);
  expect(isStopped).toBe(false);
  ends.get('a')?.();
  await time.advance(50);
  expect([isStopped, log]).toEqual([true, ['a', 'opened']]);
});
