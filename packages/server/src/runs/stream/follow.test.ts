import type { RunId, TenantId } from '@nexus-agent/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { openBus } from '#bus/drivers';
import { createManualTime } from '#core/testing';
import type { StoredEvent } from '#storage';
import { follow } from './follow.ts';
import { createStreamHub, type StreamHub } from './hub.ts';
import { streamSettings } from './settings.testkit.ts';

const tenantId = 'default' as TenantId;
const runId = 'run_1' as RunId; // a name is enough
const open: StreamHub[] = [];
afterEach(() => {
  for (const hub of open.splice(0)) hub.close();
});

/** A reader of a log that grows as the test says. */
async function reader(log: StoredEvent[], coalesceMs = streamSettings.coalesceMs) {
  const time = createManualTime();
  const bus = await openBus({ kind: 'memory', onError: () => undefined });
  const hub = createStreamHub({ bus, ...time, settings: { ...streamSettings, coalesceMs } });
  open.push(hub);
  const readEvents = async (_t: string, _r: string, { after }: { after: number }) => log.filter(({ seq }) => seq > after);
  const store = {
    readEvents,
    readEventsWithin: async (...question: Parameters<typeof readEvents>) =>
      (await readEvents(...question)).map((event) => ({ ...event, chars: event.data.length })),
    readEventData: async () => null,
    lastSeqOf: async () => log.at(-1)?.seq ?? null,
  };
  const leaving = new AbortController();
  const engine = { store, hub, ...time };
  const batches = follow({
    engine,
    tenantId,
    runId,
    cursor: { seq: 0, offset: 0 },
    signal: leaving.signal,
    inLog: async () => ({ lastSeq: 0, ended: false }),
  });
  return { time, hub, batches, leave: () => leaving.abort() };
}

const started: StoredEvent = { seq: 1, type: 'run.started', at: 0, data: '{}' };
const ended: StoredEvent = { seq: 2, type: 'run.completed', at: 0, data: '{}' };

describe('a reader of a run', () => {
  it.each<[string, (subject: Awaited<ReturnType<typeof reader>>) => Promise<unknown>]>([
    ['takes no more', ({ batches }) => batches.return(undefined)],
    [
      'leaves while it waits for news',
      async ({ batches, leave, time }) => {
        const next = batches.next();
        await time.advance(0);
        leave();
        return next;
      },
    ],
  ])('is let go of when it %s, with its timer', async (_, go) => {
    const subject = await reader([started]);
    expect((await subject.batches.next()).value).toHaveLength(1);
    expect(subject.hub.followers).toBe(1);
    expect(await go(subject)).toMatchObject({ done: true });
    expect(subject.hub.followers).toBe(0);
    expect(subject.time.pending).toBe(0);
  });

  it('is let go of at the end of the run', async () => {
    const { batches, hub, time } = await reader([started, ended]);
    expect((await batches.next()).value).toHaveLength(2);
    expect(await batches.next()).toMatchObject({ done: true });
    expect(hub.followers).toBe(0);
    expect(time.pending).toBe(0);
  });

  it.each(['run.completed', 'run.failed', 'run.cancelled', 'run.waiting'] as const)(
    'hears of %s at once, amid its rest [verifies stream.end.at-once]',
    async (type) => {
      const log = [started];
      const { batches, hub, time } = await reader(log, 25);
      const local = hub.openLocal(`${tenantId}/${runId}`);
      local.appended([started]);
      await batches.next();
      const next = batches.next();
      let heard = false;
      void next.then(() => {
        heard = true;
      });
      const busy: StoredEvent = { seq: 2, type: 'tool.started', at: 0, data: '{}' };
      local.appended([busy]);
      await time.advance(1);
      expect(heard).toBe(false);
      local.appended([{ seq: 3, type, at: 0, data: '{}' }]);
      await time.advance(0);
      expect((await next).value).toHaveLength(2);
      local.close();
      await batches.return(undefined);
    },
  );

  it('is let go of when the log cannot be read', async () => {
    const { batches, hub } = await reader(
      new Proxy([], {
        get: () => {
          throw new Error('the store is away');
        },
      }),
    );
    await expect(batches.next()).rejects.toThrow('the store is away');
    expect(hub.followers).toBe(0);
  });
});
