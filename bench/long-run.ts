/**
 * What a step of a long run costs at its end against its beginning. One run of 1,000 steps, each a model turn with a tool call; the
 * whole conversation is sent to the model with each step, so what goes to sockets grows, and what is done and kept must not.
 *
 *   node --conditions=nexus-source bench/long-run.ts [--steps 1000]
 */
import { readArguments } from './support/arguments.ts';
import { createClient } from './support/client.ts';
import { cpuMs, inLanes, startPlatform, writtenBy } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = readArguments({ options: { steps: { type: 'string', default: '1000' } } });
const steps = Number(values.steps);
const window = Math.floor(steps / 10);

const platform = await startPlatform({ mockArgs: ['steps', String(steps - 1)] });
const { pid } = platform.server.child;
const client = createClient(platform.url, 4);
await client.putAgent(['lookup'], steps);
const request = JSON.stringify({
  agent: 'bench',
  input: 'Look the keys up.',
  budget: { costMicroUsd: 1_000_000_000, tokens: 1_000_000_000 },
});

/** CPU and bytes at each {@link window} steps of a run that is followed to its end. */
async function followRun() {
  const marks: { cpu: number; fileKb: number }[] = [];
  const mark = () => marks.push({ cpu: cpuMs(pid), fileKb: writtenBy(pid).fileKb });
  let text = '';
  let seen = 0;
  let runId = '';
  const decoder = new TextDecoder();
  for await (const piece of await client.stream('/v1/agents/chat/stream', request)) {
    text += decoder.decode(piece as Buffer, { stream: true });
    const frames = text.split('\n\n');
    text = frames.pop() ?? '';
    for (const frame of frames) {
      runId = /"runId":"([^"]+)"/.exec(frame)?.[1] ?? runId;
      if (!frame.includes('event: step.started\n')) continue;
      if (seen % window === 0) mark();
      seen += 1;
    }
    if (frames.some((frame) => frame.includes('event: run.failed'))) throw new Error(frames.at(-1));
  }
  if (seen !== steps) throw new Error(`the run ended after ${seen} of ${steps} steps`);
  return { marks, runId };
}

/** CPU of the server for a page of 100 events behind `after`. */
async function page(runId: string, after: number): Promise<number> {
  const samples: number[] = [];
  for (let round = 0; round < 3; round++) {
    const before = cpuMs(pid);
    await inLanes(4, 200, async () => {
      const { status, text } = await client.get(`/v1/runs/${runId}/events?after=${after}&limit=100`);
      if (status !== 200) throw new Error(text);
    });
    samples.push((cpuMs(pid) - before) / 200);
  }
  return median(samples);
}

await followRun(); // the code is warm then
const { marks, runId } = await followRun();
const spent = (from: number, what: 'cpu' | 'fileKb') => ((marks[from + 1]?.[what] ?? 0) - (marks[from]?.[what] ?? 0)) / window;
const last = marks.length - 2;
const events = (await client.get(`/v1/runs/${runId}`)).text;
const lastSeq = Number(/"lastSeq":(\d+)/.exec(events)?.[1] ?? steps * 9);
await page(runId, 0);
const [firstPage, lastPage] = [await page(runId, 0), await page(runId, lastSeq - 101)];
await client.close();
await platform.close();

const flat = { op: '<=' as const, value: 1.2 };
const figures: Figure[] = [
  { name: `CPU per step, steps 1 to ${window}`, value: spent(0, 'cpu'), unit: 'ms' },
  { name: `CPU per step, steps ${last * window + 1} to ${(last + 1) * window}`, value: spent(last, 'cpu'), unit: 'ms' },
  { name: 'CPU per step, last / first', value: spent(last, 'cpu') / spent(0, 'cpu'), unit: '', bar: flat },
  { name: 'written to files per step, first', value: spent(0, 'fileKb'), unit: 'KB' },
  { name: 'written to files per step, last / first', value: spent(last, 'fileKb') / spent(0, 'fileKb'), unit: '', bar: flat },
  { name: 'CPU per page of 100 events, first page', value: firstPage, unit: 'ms' },
  { name: 'CPU per page of 100 events, last / first', value: lastPage / firstPage, unit: '', bar: flat },
];
report('long run', figures, [`one run of ${steps} steps after another one; CPU of all threads of the server`]);
