import { createNexusClient } from '@nexus-agent/sdk';
import { systemClock } from '#core';
import { check, type Demo, expectCompleted, isJournalEvent, journalOf, ofType, repeatedSteps, type WireJournalEvent } from './demo.ts';
import { createNarrator, shortId } from './narrator.ts';
import { type SecondProcess, startSecondProcess } from './second-process.ts';
import { tokensOf } from './server.ts';
import { elapsed, grouped, oneLine } from './words.ts';

const slowTool = 'code_js';

/**
 * Three tool calls at once; the last computes for seconds, which the simulator would not plan by itself: the message
 * holds its script.
 */
const input = `Read documents/kepler.md and data/planets.csv, and run programs/orbits.js.
[[sim tools=fs_search(query="semi-major axis")]]
[[sim tools=fs_read(path="documents/kepler.md"),fs_read(path="data/planets.csv"),code_js(code="eval(files['programs/orbits.js'])",input=400000,files=["programs/orbits.js","data/planets.csv"])]]
[[sim say="Each planet fell round the Sun in 400,000 steps; the computed periods, in days, stand beside the measured ones."]]`;

/** Another process drives a run and is killed in the middle of it; this one finishes it. */
export async function crashScene(demo: Demo): Promise<void> {
  const { stage, config, version, signal } = demo;
  stage.paragraph('“Read documents/kepler.md and data/planets.csv, and run programs/orbits.js.”', 'bold');
  stage.paragraph('(plus a script for the simulator, so that a slow computation is under way at the kill)', 'dim');
  stage.line();
  const second = await startSecondProcess({ config: { ...config, port: 0, stateHome: `${config.dataDir}/second` }, version }, signal);
  try {
    stage.line(`a second process (pid ${second.pid}, ${second.url}) opens the same database and takes the run`);
    await crashAndTakeOver(demo, second);
  } finally {
    await second.kill();
  }
}

async function crashAndTakeOver(demo: Demo, second: SecondProcess): Promise<void> {
  const { stage, client, runs, signal } = demo;
  const { style, line } = stage;
  const { id: sessionId } = await client.sessions.create({ agent: 'analyst' }, { signal });
  const run = await createNexusClient({ baseUrl: second.url, tokenFolders: tokensOf(demo.config) }).runs.create(
    { sessionId, input },
    { signal },
  );
  runs.push(run.id);

  // One stream, from the first process, before and after the crash.
  const narrator = createNarrator(stage);
  const journal: WireJournalEvent[] = [];
  let killedAt: number | null = null;
  for await (const event of client.runs.stream(run.id, { signal })) {
    narrator.tell(event);
    if (!isJournalEvent(event)) continue;
    journal.push(event);
    if (killedAt === null && isMidway(journal)) {
      killedAt = systemClock.now();
      const death = await second.kill();
      narrator.pause();
      const where = `after event ${event.seq} of the journal, with ${slowTool} in flight`;
      line(`${style(['red', 'bold'], `kill -9 ${second.pid}`)} ${style('dim', `→ ${death}, ${where}`)}`);
      line(style('dim', 'the stream stays open; the lease of the dead worker runs out …'));
    } else if (killedAt !== null && event.type === 'run.resumed') {
      line(`  ${style('bold', `taken over ${elapsed(Date.parse(event.at) - killedAt)} after the kill`)}`);
    }
  }
  check(killedAt !== null, `${slowTool} to be in flight when the worker is killed`);
  await report(demo, run.id, killedAt);
}

/** The quick calls of the step have ended and the slow one has not. */
function isMidway(journal: readonly WireJournalEvent[]): boolean {
  const step = ofType(journal, 'tool.started').find((event) => event.data.name === slowTool)?.data.step;
  if (step === undefined) return false;
  const ended = new Set(ofType(journal, 'tool.completed').map((event) => event.data.callId));
  return ofType(journal, 'tool.started').every(
    ({ data }) => data.step !== step || (data.name === slowTool ? !ended.has(data.callId) : ended.has(data.callId)),
  );
}

/** What the journal proves, from its first event to its last. */
async function report(demo: Demo, runId: string, killedAt: number): Promise<void> {
  const { stage, client, signal } = demo;
  expectCompleted(await client.runs.get(runId, { signal }));
  const journal = await journalOf(demo, runId);
  const workers = [...ofType(journal, 'run.started'), ...ofType(journal, 'run.resumed')].map(({ data }) => data.workerId);
  const restarted = ofType(journal, 'step.restarted');
  const repeated = repeatedSteps(journal);
  const gaps = journal.filter((event, index) => event.seq !== index + 1);
  const finishedBefore = [...ofType(journal, 'model.completed'), ...ofType(journal, 'tool.completed')].filter(
    (event) => Date.parse(event.at) <= killedAt,
  );
  const resumed = ofType(journal, 'run.resumed')[0];
  const table = ofType(journal, 'tool.completed').find((event) => event.data.name === slowTool);
  check(new Set(workers).size === 2, 'two workers in the journal');
  check(repeated.length === 0 && gaps.length === 0, 'no finished step repeated and no gap in the journal');
  check(restarted.length === 1 && resumed?.data.reason === 'recovered', 'exactly the call in flight restarted');

  stage.line();
  stage.fields([
    ['workers', workers.map((worker, index) => `${shortId(worker)}${index === 0 ? ' (killed)' : ' (finished it)'}`).join(' → ')],
    ['finished before', `${grouped(finishedBefore.length)} calls, ${repeated.length} repeated`],
    [
      'in flight',
      `${restarted.map(({ data }) => `${data.kind} call of step ${data.step}`).join(', ')}: started again under the same idempotency key`,
    ],
    ['journal', `${grouped(journal.length)} events, ${gaps.length} gaps`],
    ['computed days', `${oneLine(periods(table?.data.output ?? ''), 400)} (in brackets: measured)`],
  ]);
}

/** The table that programs/orbits.js gives, in one line. */
function periods(output: string): string {
  const { value } = JSON.parse(output) as { value: { planet: string; computedDays: number; measuredDays: number }[] }; // what programs/orbits.js gives
  return value.map(({ planet, computedDays, measuredDays }) => `${planet} ${computedDays} (${measuredDays})`).join(' · ');
}
