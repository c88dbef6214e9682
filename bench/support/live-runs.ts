import type { createClient } from './client.ts';
import { inLanes, type Platform, pause } from './processes.ts';

/** Resolves a while after the server works on so many runs. */
export async function untilLive(platform: Platform, runs: number): Promise<void> {
  const until = performance.now() + 300_000;
  for (let live = 0; live < runs; ) {
    live = (await platform.usage()).liveRuns;
    if (performance.now() > until) throw new Error(`${live} of ${runs} runs live after five minutes`);
    await pause(200);
  }
  await pause(1500);
}

/** How long 10 clients wait for the answers to `GET /v1/runs/:id`, in ms. */
export async function controlTimes(client: ReturnType<typeof createClient>): Promise<number[]> {
  const list = JSON.parse((await client.get('/v1/runs?limit=50')).text) as { data: { id: string }[] }; // a page of the API
  const times: number[] = [];
  await inLanes(10, 400, async (index) => {
    const before = performance.now();
    const { status } = await client.get(`/v1/runs/${list.data[index % list.data.length]?.id}`);
    if (status !== 200) throw new Error(`a run was answered with ${status}`);
    times.push(performance.now() - before);
    await pause(20);
  });
  return times;
}
