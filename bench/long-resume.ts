/**
 * What it costs to take up a run again in the middle, by how far it had come: its journal is read and its conversation told to the model
 * once more, which is proportional to it; what is not is the step that it then does. A run is stopped by a limit of its session after so
 * many tool calls; the limit is raised by one, the run resumed: it does a step and stops again.
 *
 *   node --conditions=nexus-source bench/long-resume.ts [--steps 100,980] [--samples 11]
 */
import { readArguments } from './support/arguments.ts';
import { createClient } from './support/client.ts';
import { cpuMs, pause, startPlatform } from './support/processes.ts';
import { type Figure, median, report } from './support/report.ts';

const { values } = readArguments({
  options: { steps: { type: 'string', default: '100,980' }, samples: { type: 'string', default: '11' } },
});
const lengths = values.steps.split(',').map(Number);
const samples = Number(values.samples);
/** A run has no more; the longest length and the samples behind it are within. */
const most = 1_000;
/** As of the first message to a long session. */
const holdBar = { op: '<=' as const, value: 20 };

const platform = await startPlatform({ mockArgs: ['steps', String(most)], watchLoop: true, contextTokens: 100_000_000 });
const { pid } = platform.server.child;
const client = createClient(platform.url, 4);
await client.putAgent(['lookup'], most);

async function asked<T>(path: string, body: unknown, method: 'POST' | 'PUT' = 'POST'): Promise<T> {
  const { status, text } = await (method === 'PUT' ? client.put : client.post)(path, JSON.stringify(body));
  if (status >= 300) throw new Error(`${path}: ${text}`);
  return JSON.parse(text) as T; // as the API answers
}

/** Until it has failed because of its limit; its last event then. */
async function stopped(runId: string, after: number): Promise<number> {
  let text = '';
  for await (const piece of await client.stream(`/v1/runs/${runId}/events?after=${after}`)) text += String(piece);
  if (!text.includes('budget_exceeded')) throw new Error(text.slice(-2_000));
  return Number([...text.matchAll(/^id: (\d+)/gm)].at(-1)?.[1]);
}

const { id: sessionId } = await asked<{ id: string }>('/v1/sessions', { agent: 'bench' });
const limitTo = (limit: number) =>
  asked('/v1/budgets', { scope: { kind: 'session', id: sessionId }, unit: 'toolCalls', window: 'total', limit }, 'PUT');

/** Raises the limit and resumes the run until it stands there. */
async function resumed(runId: string, limit: number, after: number): Promise<number> {
  await limitTo(limit);
  await asked(`/v1/runs/${runId}/resume`, {});
  return stopped(runId, after);
}

const figures: Figure[] = [];
await limitTo(10);
const budget = { costMicroUsd: 1_000_000_000, tokens: 1_000_000_000 };
const { id: runId } = await asked<{ id: string }>('/v1/runs', { agent: 'bench', sessionId, input: 'Look the keys up.', budget });
let limit = 10;
let last = await stopped(runId, 0);
for (; limit < 20; limit++) last = await resumed(runId, limit + 1, last); // the code is warm then
const cpu: number[] = [];
for (const length of lengths) {
  last = await resumed(runId, length, last);
  limit = length;
  const found: { cpu: number; held: number }[] = [];
  for (let sample = 0; sample < samples; sample++) {
    await pause(100);
    await platform.usage();
    const before = cpuMs(pid);
    last = await resumed(runId, ++limit, last);
    await pause(30); // the watch itself is told of a hold only after it
    const { held } = await platform.usage();
    found.push({ cpu: cpuMs(pid) - before, held: held.cpuMs });
  }
  cpu.push(found.reduce((sum, one) => sum + one.cpu, 0) / samples);
  figures.push(
    { name: `after ${length} steps: CPU of a resume and one step`, value: cpu.at(-1) ?? 0, unit: 'ms' },
    {
      name: `after ${length} steps: longest hold of the loop in CPU`,
      value: median(found.map(({ held }) => held)),
      unit: 'ms',
      bar: holdBar,
    },
  );
}
await client.close();
await platform.close();
report('long resume', figures, [`mean and median of ${samples} resumes of one run; all threads of the server`]);
