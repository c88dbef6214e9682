import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { createIdSource, systemClock } from '#core';
import { tellUncaught } from './last-words.ts';
import { createKeptLog } from './testing/index.ts';

it('tells what Node warns of as a line of the log, and prints it nowhere else', async () => {
  const before = process.listeners('warning');
  const { logger, lines } = createKeptLog();
  const stop = tellUncaught({ logger, ids: createIdSource(systemClock), exit: () => undefined, liveRuns: () => 0 });
  try {
    expect(process.listeners('warning')).toHaveLength(1);
    process.emitWarning('beware\n{"level":"info"}');
    await setImmediate();
  } finally {
    stop();
  }
  expect(lines).toMatchObject([{ level: 'warn', message: 'Node.js warns', fields: { err: { message: 'beware\n{"level":"info"}' } } }]);
  expect(process.listeners('warning')).toEqual(before);
});
