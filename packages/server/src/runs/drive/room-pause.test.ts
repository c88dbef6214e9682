import { describe, expect, it } from 'vitest';
import { createManualTime } from '#core/testing';
import { silentLogger } from '#telemetry/testing';
import { createRoomPause } from './room-pause.ts';

describe('a run for which there is no room', () => {
  it('asks less and less often, and at once when something is asked of it', async () => {
    const { timers, advance, clock } = createManualTime();
    const room = createRoomPause({ timers, logger: silentLogger, runId: 'run_1', failFor: () => undefined });
    const pauseMs = async () => {
      const before = clock.now();
      let isOver = false;
      const wait = room.wait().then(() => {
        isOver = true;
      });
      while (!isOver) await advance(500);
      await wait;
      return clock.now() - before;
    };
    const pauses: number[] = [];
    for (let time = 0; time < 6; time++) pauses.push(await pauseMs());
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    const wait = room.wait();
    room.end();
    await wait;
    room.reset();
    expect(await pauseMs()).toBe(1_000);
  });
});
