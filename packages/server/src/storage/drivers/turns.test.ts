import { expect, it } from 'vitest';
import { createThreadTurns } from './turns.ts';

const unitsOfTurn = 100;

/** ThreadTurns of an event loop that a test moves by hand: `done` says what was done in each. */
function open() {
  const done: string[][] = [[]];
  const ready: (() => void)[] = [];
  const turns = createThreadTurns(() => new Promise((resolve) => ready.push(resolve)), unitsOfTurn);
  const work = (name: string, units: number) => () => {
    done.at(-1)?.push(name);
    turns.spend(units);
    return name;
  };
  const settle = async () => {
    for (let tick = 0; tick < 50; tick++) await undefined;
  };
  return {
    turns,
    work,
    done,
    settle,
    async next() {
      done.push([]);
      for (const go of ready.splice(0)) go();
      await settle();
    },
    isIdle: () => ready.length === 0,
  };
}

it('does no more in a turn than its share and the work that goes beyond, whoever asks for it', async () => {
  const { turns, work, done, settle, next } = open();
  // One who reads page after page, without ever waiting for anything else, and ten who ask at once.
  const reader = (async () => {
    for (let page = 0; page < 20; page++) await turns.run(work('page', unitsOfTurn / 4));
  })();
  const others = Array.from({ length: 10 }, () => turns.run(work('other', unitsOfTurn / 2)));
  await settle();
  while (done.flat().length < 30) await next();
  await Promise.all([reader, ...others]);
  const units = done.map((turn) => turn.reduce((sum, name) => sum + (name === 'page' ? 1 / 4 : 1 / 2), 0));
  expect(Math.max(...units)).toBeLessThanOrEqual(1.5);
  // Nobody waits until another has had everything.
  expect(done.findIndex((turn) => turn.includes('other'))).toBeLessThan(3);
});

it('gives every turn one piece of much, beside what others ask for', async () => {
  const { turns, work, done, settle, next } = open();
  const pieces = Array.from({ length: 4 }, () => turns.run(work('piece', unitsOfTurn), 'in_turn'));
  await settle();
  expect(done).toEqual([[]]);
  await next();
  const small = turns.run(work('small', 1));
  await next();
  await small;
  for (let turn = 0; turn < 4; turn++) await next();
  await Promise.all(pieces);
  expect(done.map((turn) => turn.filter((name) => name === 'piece').length)).toEqual([0, 1, 1, 1, 1, 0, 0]);
});

it('keeps nothing waiting that has to be done at once', async () => {
  const { turns, work, done, settle } = open();
  void turns.run(work('large', 10 * unitsOfTurn));
  void turns.run(work('behind it', 1));
  await settle();
  await turns.run(work('sign of life', 1), 'at_once');
  expect(done).toEqual([['large', 'sign of life']]);
});

it('goes on after work that fails, and waits for nothing when there is nothing to do', async () => {
  const { turns, work, next, isIdle, settle } = open();
  const failing = turns.run(() => {
    turns.spend(2 * unitsOfTurn);
    throw new Error('broken');
  });
  const behind = turns.run(work('behind', 1));
  await expect(failing).rejects.toThrow('broken');
  await next();
  expect(await behind).toBe('behind');
  await settle();
  expect(isIdle()).toBe(true);
});
