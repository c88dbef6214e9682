import { describe, expect, it } from 'vitest';
import { runCampaign } from './campaign.ts';
import { createSeedThreads } from './seed-threads.ts';

describe('seeds on threads', () => {
  it('a seed gives there what it gives here', { timeout: 60_000 }, async () => {
    const seeds = { from: 1, count: 8, twice: false, signal: new AbortController().signal };
    const told: number[] = [];
    const beside = await runCampaign({ ...seeds, jobs: 2, onProgress: ({ simulations }) => told.push(simulations) });
    expect(beside).toEqual(await runCampaign({ ...seeds, jobs: 1 }));
    expect(told).toEqual(Array.from({ length: 8 }, (_, index) => index + 1));
  });

  it('ends what was begun and begins no more when nobody waits any longer', { timeout: 60_000 }, async () => {
    const stop = new AbortController();
    const seeds = { from: 1, count: 1_000, twice: false, jobs: 2, signal: stop.signal };
    const { simulations } = await runCampaign({ ...seeds, onProgress: () => stop.abort() });
    expect(simulations).toBe(2);
  });

  it('tells which seed was lost with its thread', { timeout: 60_000 }, async () => {
    const threads = createSeedThreads();
    const lost = threads.simulate({ seed: '2', twice: false });
    await Promise.all([threads.close(), expect(lost).rejects.toThrow('seed 2: the simulation itself broke: its thread ended')]);
  });
});
