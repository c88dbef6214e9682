import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { NexusError } from './errors.ts';
import { createManualTime } from './testing/index.ts';
import { settlesWithin, systemTimers, type Timers } from './timers.ts';

interface Driver {
  readonly timers: Timers;
  readonly pass: (ms: number) => Promise<void>;
  /** Tasks that wait and keep the process alive. */
  readonly waiting: () => number;
}

const keepingAlive = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

const drivers: readonly (readonly [string, () => Driver])[] = [
  ['the timers of the process', () => ({ timers: systemTimers, pass: (ms) => systemTimers.sleep(ms + 20), waiting: keepingAlive })],
  [
    'manual time',
    () => {
      const time = createManualTime();
      return { timers: time.timers, pass: (ms) => time.advance(ms), waiting: () => time.pending };
    },
  ],
];

describe.each(drivers)('%s', (_, create) => {
  it('runs a task once, in the order of their times, unless it was cancelled', async () => {
    const { timers, pass } = create();
    const ran: string[] = [];
    timers.after(30, () => ran.push('later'));
    timers.after(1, () => ran.push('sooner'));
    timers.after(5, () => ran.push('never'))();
    await pass(40);
    expect(ran).toEqual(['sooner', 'later']);
  });

  it('repeats a task until it is cancelled', async () => {
    const { timers, pass } = create();
    let ran = 0;
    const cancel = timers.every(10, () => {
      ran += 1;
    });
    await pass(35);
    cancel();
    const before = ran;
    expect(before).toBeGreaterThanOrEqual(2);
    await pass(30);
    expect(ran).toBe(before);
  });

  it('ends a sleep at its time, or at once when its signal fires', async () => {
    const { timers, pass } = create();
    const slept = timers.sleep(5);
    await pass(5);
    await slept;
    const stop = new AbortController();
    const cut = timers.sleep(60_000, stop.signal);
    stop.abort();
    await expect(cut).rejects.toMatchObject({ code: 'cancelled' });
    await expect(timers.sleep(1, stop.signal)).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('leaves no timer behind: not of a sleep that was cut short, nor of work that settled in time', async () => {
    const { timers, waiting } = create();
    const before = waiting();
    const stop = new AbortController();
    const cut = timers.sleep(60_000, stop.signal);
    expect(waiting()).toBe(before + 1);
    stop.abort();
    await expect(cut).rejects.toMatchObject({ code: 'cancelled' });
    expect(waiting()).toBe(before);
    expect(await settlesWithin(timers, Promise.resolve(), 60_000)).toBe(true);
    expect(await settlesWithin(timers, Promise.reject(new Error('failed')), 60_000)).toBe(true);
    expect(waiting()).toBe(before);
  });

  it('counts what is no number, or less than nothing, as no time at all', async () => {
    const { timers, pass } = create();
    const ran: string[] = [];
    timers.after(Number.NaN, () => ran.push('NaN'));
    timers.after(-5, () => ran.push('negative'));
    timers.after(Number.POSITIVE_INFINITY, () => ran.push('never'))();
    const forgotten = timers.after(Number.POSITIVE_INFINITY, () => ran.push('never'));
    const cancel = timers.every(Number.NaN, () => ran.push('each'));
    await pass(10);
    cancel();
    forgotten();
    expect(ran.filter((name) => name !== 'each')).toEqual(['NaN', 'negative']);
    expect(ran.filter((name) => name === 'each').length).toBeGreaterThan(1);
  });

  it('leaves no listener on a signal, however a sleep ends', async () => {
    const { timers, pass } = create();
    const stop = new AbortController();
    const slept = [timers.sleep(1, stop.signal), timers.sleep(2, stop.signal)];
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(2);
    await pass(5);
    await Promise.all(slept);
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0);
    const reason = new NexusError('unavailable', 'draining');
    const cut = timers.sleep(60_000, stop.signal);
    stop.abort(reason);
    await expect(cut).rejects.toBe(reason);
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(0);
  });

  it('tells whether work settled in time, whichever way it did', async () => {
    const { timers, pass } = create();
    expect(await settlesWithin(timers, Promise.resolve(), 10)).toBe(true);
    expect(await settlesWithin(timers, Promise.reject(new Error('failed')), 10)).toBe(true);
    const late = settlesWithin(timers, new Promise(() => undefined), 10);
    await pass(10);
    expect(await late).toBe(false);
  });
});

it('keeps the process alive for a task that is to run once, and not for one that is repeated', () => {
  const before = keepingAlive();
  const cancels = [systemTimers.after(60_000, () => undefined), systemTimers.every(60_000, () => undefined)];
  expect(keepingAlive()).toBe(before + 1);
  for (const cancel of cancels) cancel();
  expect(keepingAlive()).toBe(before);
});

it('waits longer than a timer of Node can', async () => {
  let early = false;
  const cancel = systemTimers.after(2 ** 31 + 1_000, () => {
    early = true;
  });
  await systemTimers.sleep(20);
  cancel();
  expect(early).toBe(false);
});

it('runs manual time in order, never back, and leaves nothing that waits', async () => {
  const time = createManualTime();
  const startedAt = time.clock.now();
  const ran: string[] = [];
  const say = (name: string) => () => ran.push(`${name} at ${time.clock.now() - startedAt}`);
  time.timers.after(5, say('second'));
  time.timers.after(5, say('third'));
  time.timers.after(1, () => {
    say('first')();
    time.timers.after(4, say('fourth'));
  });
  await time.advance(10);
  expect(ran).toEqual(['first at 1', 'second at 5', 'third at 5', 'fourth at 5']);
  expect(time.pending).toBe(0);
  await time.advance(-5);
  expect(time.clock.now() - startedAt).toBe(10);
});
