import type { ModelInfo, Session } from '@nexus-agent/protocol';
import { check, type Demo, expectCompleted, journalOf, ofType, paced, repeatedSteps, watchRun } from './demo.ts';
import { createNarrator } from './narrator.ts';
import { amountsText, dollars, elapsed, grouped, oneLine, plainText } from './words.ts';

/** What came up, and who will speak. */
export async function startScene({ stage, server, client, examples, signal }: Demo): Promise<void> {
  const [health, agents, tools, models] = await Promise.all([
    client.health({ signal }),
    client.agents.list({ signal }),
    client.tools.list({ signal }),
    client.models.list({ signal }),
  ]);
  stage.fields([
    ['server', `${stage.style('bold', server.url)} · version ${health.version} · ready after ${elapsed(server.startedMs)}`],
    ['storage', 'embedded database, no other service, no key, nothing leaves this machine'],
    ['agents', agents.data.map((agent) => agent.name).join(', ')],
    ['tools', tools.data.map((tool) => tool.name).join(', ')],
    ...modelLines(models.data),
    ['files', `${examples.length > 60 ? `…${examples.slice(-59)}` : examples}: real documents, figures of NASA's fact sheets`],
  ]);
  stage.line();
  stage.paragraph(
    'A SIMULATOR plays the model. It plans tool calls by simple rules and speaks the real wire protocols of OpenAI and Anthropic over HTTP. ' +
      'It is named wherever it speaks. Everything else is the real thing: tools, numbers, budgets, policies, crashes.',
    'yellow',
  );
}

/** One line per provider, beginning with its name. */
function modelLines(models: readonly ModelInfo[]): [string, string][] {
  const providers = [...new Set(models.map((model) => model.provider))];
  return providers.map((provider, index) => {
    const own = models.filter((model) => model.provider === provider);
    const names = own.map((model) => model.id.slice(provider.length + 1)).join(', ');
    return [index === 0 ? 'models' : '', `${provider}${own.every((model) => model.simulator) ? ' (simulator)' : ''}: ${names}`];
  });
}

export async function sessionScene({ stage, client, signal }: Demo): Promise<Session> {
  const { id } = await client.sessions.create(
    {
      agent: 'analyst',
      budget: { costMicroUsd: 100_000, tokens: 200_000, toolCalls: 40 },
      policy: { allow: ['fs_*', 'code_js', 'http_fetch'], approve: ['fs_write', 'fs_edit', 'fs_move', 'fs_delete'] },
      metadata: { from: 'demo' },
    },
    { signal },
  );
  const session = await client.sessions.get(id, { signal });
  const agent = await client.agents.get(session.agent, session.agentVersion, { signal });
  stage.fields([
    ['session', session.id],
    ['agent', `${session.agent}, version ${session.agentVersion.slice(0, 12)}: ${agent.definition.description}`],
    ['budget', `${amountsText(session.budget.limit)} · spent ${dollars(session.budget.spent.costMicroUsd ?? 0)}`],
    ['policy', `the agent: ${formText(agent.definition.policy)}`],
    ['', `this session: ${formText(session.policy)} (narrows, never widens)`],
    ['', 'the operator: examples/policies/*.cedar; whatever nobody permits is denied'],
  ]);
  return session;
}

function formText(form: Session['policy']): string {
  return Object.entries(form ?? {})
    .map(([kind, patterns]) => `${kind} ${(patterns ?? []).join(' ')}`)
    .join(' · ');
}

export async function taskScene(demo: Demo, sessionId: string): Promise<void> {
  const { stage, client, signal } = demo;
  const input =
    'List the files and search for "Triton". Then read data/planets.csv, data/moons.csv and documents/voyager-2.md, ' +
    'look at https://nssdc.gsfc.nasa.gov/planetary/factsheet/ as well, and calculate the total mass of the planets and the mean radius of the moons.';
  prompt(demo, input);
  const journal = await watchRun(demo, client.chat({ sessionId, input, model: paced }, { signal }));
  const run = await client.runs.get(journal[0]?.runId ?? '', { signal });
  expectCompleted(run);
  stage.line(stage.style('dim', 'code_js computed these figures in the sandbox, from the files that it was given'));
}

function prompt({ stage }: Demo, input: string): void {
  stage.paragraph(`“${input}”`, 'bold');
  stage.line();
}

/** A write waits for a person; the server is restarted meanwhile; what was approved is what runs. */
export async function approvalScene(demo: Demo, sessionId: string): Promise<void> {
  const { stage, client, server, signal } = demo;
  const { style, line } = stage;
  const input = 'Read data/moons.csv, compute the mean radius of the moons, and write the result to reports/moons.md.';
  prompt(demo, input);
  const narrator = createNarrator(stage);
  const before = await watchRun(demo, client.chat({ sessionId, input, model: paced }, { signal }), {
    narrator,
    until: (event) => event.type === 'run.waiting',
  });
  const runId = before[0]?.runId ?? '';

  const [asked] = (await client.approvals.list({ status: 'pending', signal })).data.filter((approval) => approval.runId === runId);
  check(asked !== undefined, 'a pending approval');
  line();
  line(`${style(['yellow', 'bold'], 'approval')} ${asked.id} ${style('dim', `until ${asked.deadlineAt}, then ${asked.defaultDecision}`)}`);
  for (const [name, value] of Object.entries(Object(asked.arguments))) stage.fields([[`  ${name}`, plainText(String(value)).trim()]]);
  const awayMs = await server.restart();
  const still = await client.approvals.get(asked.id, { signal });
  check(still.status === 'pending', 'an approval that outlives a restart');
  line(style('dim', `server stopped and started again in ${elapsed(awayMs)}; the approval is still ${still.status}`));
  const decided = await client.approvals.answer(asked.id, { decision: 'approve', note: 'approved by the demo' }, { signal });
  line(`${style('green', '✓')} POST /v1/approvals/${asked.id} → ${decided.decision} by ${decided.decidedBy}`);
  line();

  const rest = await watchRun(demo, client.runs.stream(runId, { after: String(before.at(-1)?.seq ?? 0), signal }), { narrator });
  expectCompleted(await client.runs.get(runId, { signal }));
  const ran = ofType(rest, 'tool.started').find((event) => event.data.name === asked.toolName);
  check(JSON.stringify(ran?.data.input) === JSON.stringify(asked.arguments), 'a tool that runs with exactly the approved arguments');
  const report = await client.tools.execute('fs_read', { sessionId, input: { path: 'reports/moons.md' } }, { signal });
  check(report.status === 'ok', 'the report in the workspace');
  line(`reports/moons.md now holds: ${style('bold', oneLine(report.output, 48))}`);
}

/** A run that its budget stops, and that goes on where it stopped. */
export async function budgetScene(demo: Demo): Promise<void> {
  const { stage, client, signal } = demo;
  const { style, line } = stage;
  const input = 'Read data/planets.csv and calculate the mean density and the highest gravity of the planets.';
  prompt(demo, input);
  const { definition } = await client.agents.get('thrifty', undefined, { signal });
  line(style('dim', `agent ${definition.name}: a run may spend ${amountsText(definition.budget ?? {})}`));
  const { id: sessionId } = await client.sessions.create({ agent: definition.name }, { signal });
  const narrator = createNarrator(stage);
  const first = await watchRun(demo, client.chat({ sessionId, input, model: paced }, { signal }), { narrator });
  const runId = first[0]?.runId ?? '';
  const refusal = ofType(first, 'budget.refused')[0]?.data.refusal;
  const stopped = await client.runs.get(runId, { signal });
  check(refusal !== undefined && stopped.status === 'failed' && stopped.resumable === true, 'a run that its budget stops');
  const raised = await client.budgets.set({ scope: refusal.scope, unit: refusal.unit, limit: refusal.limit * 5 }, { signal });
  line();
  line(`${style('green', '✓')} PUT /v1/budgets → ${raised.scope.kind} limit ${dollars(raised.limit ?? 0)}, then POST /v1/runs/…/resume`);
  await client.runs.resume(runId, { signal });
  await watchRun(demo, client.runs.stream(runId, { after: String(first.at(-1)?.seq ?? 0), signal }), { narrator });
  expectCompleted(await client.runs.get(runId, { signal }));
  const journal = await journalOf(demo, runId);
  check(repeatedSteps(journal).length === 0, 'no repeated step');
  const calls = ofType(journal, 'model.completed').length + ofType(journal, 'tool.completed').length;
  line(`${grouped(calls)} calls in the journal, ${repeatedSteps(journal).length} of them repeated`);
}

/** The first provider is down; the next one answers, in another protocol. */
export async function fallbackScene(demo: Demo): Promise<void> {
  const { stage, client, signal } = demo;
  const input = 'Read documents/cassini-huygens.md and say how it begins.';
  prompt(demo, input);
  const { definition } = await client.agents.get('resilient', undefined, { signal });
  stage.line(stage.style('dim', `agent ${definition.name}: ${definition.models.join(', else ')}`));
  const { id: sessionId } = await client.sessions.create({ agent: definition.name }, { signal });
  const journal = await watchRun(demo, client.chat({ sessionId, input }, { signal }));
  const run = await client.runs.get(journal[0]?.runId ?? '', { signal });
  expectCompleted(run);
  const failed = ofType(journal, 'model.failed');
  check(ofType(journal, 'route.fallback').length > 0, 'a fallback');
  check(
    failed.every(({ data }) => (data.content ?? []).length === 0),
    'failed attempts of which nothing was streamed',
  );
  stage.line(`${grouped(failed.length)} failed attempts are in the journal, no word of them reached the reader`);
}
