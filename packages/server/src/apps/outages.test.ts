import { describe, expect, it } from 'vitest';
import { NexusError } from '#core';
import { createManualClock } from '#core/testing';
import type { Store } from '#storage';
import type { Logger } from '#telemetry';
import { createOutage, createStoreOutages } from './outages.ts';

function open() {
  const lines: { level: string; message: string; fields: object }[] = [];
  const at = (level: string) => (fields: object, message: string) => void lines.push({ level, message, fields });
  const logger: Logger = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error'), child: () => logger };
  const clock = createManualClock(0);
  return { lines, logger, clock };
}
const away = () =>
  new NexusError('storage_unavailable', 'the database did not answer within 8000 ms; try again', { cause: new Error('x') });

describe('an outage', () => {
  it('is told once when it begins, with why, and once when it is over, with how long it took', () => {
    const { lines, logger, clock } = open();
    const outage = createOutage({ logger, clock, name: 'database', meanwhile: 'runs wait' });
    outage.worked();
    expect(lines).toEqual([]);
    for (let second = 0; second < 60; second++) {
      outage.failed(away());
      clock.advance(1_000);
      if (second % 7 === 3) outage.worked(); // it answers what is read, and nothing else
    }
    expect(lines).toEqual([
      {
        level: 'warn',
        message: 'the database cannot be used; until it is back, runs wait',
        fields: { why: 'the database did not answer within 8000 ms' },
      },
    ]);
    outage.worked();
    clock.advance(2_500);
    outage.worked();
    expect(lines.slice(1)).toEqual([{ level: 'info', message: 'the database is back', fields: { outMs: 60_000, failures: 60 } }]);
    outage.worked();
    outage.failed(new Error('again'));
    expect(lines.slice(2)).toMatchObject([{ level: 'warn', fields: { why: 'again' } }]);
  });

  it('of the database makes details of what others say who failed for want of it, and of nothing else', async () => {
    const { lines, logger: under, clock } = open();
    const { watch, logger } = createStoreOutages({ logger: under, clock });
    const error = away();
    let fails = true;
    const store = watch({ now: () => (fails ? Promise.reject(error) : Promise.resolve(5)), dialect: 'sqlite' } as unknown as Store);
    expect(store.dialect).toBe('sqlite');
    for (let times = 0; times < 3; times++) await expect(store.now()).rejects.toBe(error);
    logger.warn({ err: error }, 'the heartbeat failed');
    logger.child({ runId: 'run_1' }).error({ err: error.cause }, 'a run could not be written');
    logger.error({ err: away() }, 'a bucket does not answer');
    logger.warn({}, 'something else');
    fails = false;
    clock.advance(5_000);
    expect(await store.now()).toBe(5);
    await Promise.resolve();
    expect(lines.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      'warn: the database cannot be used; until it is back, runs wait and requests are refused',
      'debug: the heartbeat failed',
      'debug: a run could not be written',
      'error: a bucket does not answer',
      'warn: something else',
      'info: the database is back',
    ]);
  });
});
