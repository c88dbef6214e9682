import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReplayResult, Run } from '@nexus-agent/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { migrateStore } from '#apps';
import { type LogEvent, startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli, watchedApp } from './cli.testkit.ts';
import type { Apps, RunningApp } from './io.ts';

/** Data of the servers that commands start by themselves. */
let home: string;
let platform: TestPlatform;
let env: Record<string, string>;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'nexus-test-'));
  platform = await startTestPlatform();
  env = { NEXUS_URL: platform.url };
  await platform.agent('careful', { tools: ['fs_*'], policy: { allow: ['fs_*'], approve: ['fs_write'] } });
});
afterAll(async () => {
  await platform.close();
  await rm(home, { recursive: true, force: true });
});

/** A task whose whole answer is this text. */
const say = (text: string) => `[[sim say="${text}"]]`;
/** A task that needs a person when `careful` does it; the answer is what became of the call. */
const write = '[[sim tools=fs_write(path="a.txt",content="hello")]] [[sim say="{{result}}"]]';
const list = `[[sim tools=fs_list()]] ${say('There is nothing.')}`;
/** A model that never answers. */
const silent = 'hello --model sim/sim-large?stall=0';

const nexus = (command: string, options: Parameters<typeof runCli>[1] = {}) =>
  runCli(
    command.split(' ').filter((word) => word !== ''),
    { ...options, env: { ...env, ...options.env } },
  );

/** Output with the parts that differ each time made equal. */
const golden = (text: string) =>
  text.replace(/\b(ses|run|apr|key|agv)_[0-7][0-9a-hjkmnp-tv-z]{25}/g, '$1_…').replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>');

const startRun = async (input: string) => (await nexus(`run --background ${input}`)).out.trim();
const finishRun = async (input: string) => {
  const id = await startRun(input);
  await platform.until(id, 'completed');
  return id;
};

const runIdIn = (text: string) => /run_\w+/.exec(text)?.[0] ?? '';

/** The tokens and cost of a run as a person reads them. */
async function spentBy(runId: string): Promise<string> {
  const { totals } = await platform.ask<Run>('GET', `/v1/runs/${runId}`);
  expect(totals.costMicroUsd).toBeGreaterThan(0);
  return `${totals.inputTokens + totals.outputTokens} tokens · $${(totals.costMicroUsd / 1e6).toFixed(6)}`;
}

/** The id of the approval that a run waits for. */
async function approvalOf(runId: string): Promise<string> {
  const { waitingFor } = await platform.until(runId, 'waiting');
  return waitingFor?.approvals?.[0] ?? '';
}

describe('arguments', () => {
  it('shows help and the version on stdout', async () => {
    const help = await nexus('--help');
    expect(help.code).toBe(0);
    for (const name of [
      'serve',
      'chat',
      'run',
      'sessions',
      'runs',
      'approvals',
      'agents',
      'tools',
      'models',
      'budgets',
      'definitions',
      'keys',
      'doctor',
      'migrate',
      'config',
      'demo',
    ]) {
      expect(help.out).toContain(`\n  ${name}`);
    }
    expect((await nexus('--version')).out).toBe('0.0.0-test\n');
  });

  it('answers wrong use with code 2 and on stderr only [verifies cli.exit-codes]', async () => {
    const wrong = [
      'nonsense',
      'run',
      'sessions show',
      'sessions create --budget-tokens many',
      'runs list --limit -1',
      'approvals list --status maybe',
      'keys create',
      'keys create --name x --scope root',
      'budgets set tenant:default ten',
      'budgets set galaxy:1 10',
      'tools run fs_read --session s --input [1]',
      'approvals answer apr_x',
      'agents put missing.yaml',
      'definitions import keys',
      'serve --port http',
      'config print --config missing.yaml',
      'models --nope',
    ];
    for (const command of wrong) {
      const { code, out, err } = await nexus(command);
      expect(code, command).toBe(2);
      expect(out, command).toBe('');
      expect(err, command).toContain('error:');
    }
  });

  it('suggests the command that was meant', async () => {
    expect((await nexus('sesions')).err).toContain('Did you mean sessions?');
  });

  it('takes global options before and after the command', async () => {
    for (const command of ['--json models list', 'models list --json', 'models --json']) {
      expect(JSON.parse((await nexus(command)).out)).toMatchObject({
        data: expect.arrayContaining([expect.objectContaining({ id: 'sim/sim-small' })]),
        nextCursor: null,
      });
    }
  });
});

describe('run', () => {
  it('streams the answer to stdout and what happens to stderr', async () => {
    const { code, out, err } = await nexus(`run ${say('hello there')}`);
    expect(code).toBe(0);
    expect(out).toBe('hello there\n');
    expect(golden(err)).toBe(
      [
        '● run_… · agent chat · session ses_…',
        '  step 1 · sim/sim-large (simulator)',
        `✓ completed · 1 model call · 0 tool calls · ${await spentBy(runIdIn(err))}`,
        '',
      ].join('\n'),
    );
  });

  it('shows tools', async () => {
    const { err } = await nexus(`run ${list}`);
    expect(err).toMatch(/ {2}→ fs_list \{\}\n {2}✓ fs_list \d+ ms\n/);
  });

  it('prints one event a line with --json [verifies cli.exit-codes]', async () => {
    const { out, err } = await nexus('run hello --json');
    const events = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(events[0].type).toBe('run.created');
    expect(events.at(-1).type).toBe('run.completed');
    expect(err).toBe('');
  });

  it('tells refusals by policy from other failures [verifies cli.exit-codes]', async () => {
    expect((await nexus('run hello --model sim-anthropic/sim-small')).code).toBe(3);
    expect((await nexus(`runs fork ${await finishRun('hello')} --model sim-anthropic/sim-small`)).code).toBe(3);
    // One that waits for its session is refused when it begins.
    const working = await platform.ask<Run>('POST', '/v1/runs', { input: 'hello', model: 'sim/sim-large?stall=0' });
    const request = { sessionId: working.sessionId, input: 'hello', model: 'sim-anthropic/sim-small' };
    const { id } = await platform.ask<Run>('POST', '/v1/runs', request);
    await platform.ask('POST', `/v1/runs/${working.id}/cancel`);
    const failed = await nexus(`runs watch ${id}`);
    expect(failed.code).toBe(3);
    expect(failed.err).toContain('✗ failed: policy_denied, ');
    const mend = platform.faults.fail('commit', new Error('the disk is full'));
    expect((await nexus('run hello')).code).toBe(1);
    mend();
  });

  it('says how a run ended when there is nothing left to watch', async () => {
    const id = await platform.complete({ input: 'hello' });
    const { lastSeq } = await platform.ask<Run>('GET', `/v1/runs/${id}`);
    const watched = await nexus(`runs watch ${id} --after ${lastSeq}`);
    expect(watched).toMatchObject({ code: 0, out: '' });
    expect(watched.err).toBe(`${id} is completed; nothing came after event ${lastSeq}\n`);
  });

  it('tells refusals by budget from other failures, and how to go on [verifies cli.exit-codes]', async () => {
    expect((await nexus('run hello --budget-tokens 10')).code).toBe(4);
    const session = JSON.parse((await nexus('sessions create --budget-tool-calls 0 --json')).out);
    const failed = await nexus(`run ${list} --session ${session.id}`);
    expect(failed.code).toBe(4);
    expect(failed.err).toContain(`$ budget refused: session ${session.id} has 0 tool calls of 0 tool calls left, 1 tool calls asked`);
    expect(failed.err).toContain('✗ failed: budget_exceeded, ');
    expect(golden(failed.err)).toContain('it can go on: nexus runs resume run_…');
  });

  it('reads standard input', async () => {
    expect((await nexus('run -', { piped: say('from a pipe') })).out).toBe('from a pipe\n');
    expect((await nexus('chat', { piped: say('piped chat') })).out).toBe('piped chat\n');
    expect((await nexus('run -', { piped: '' })).code).toBe(2);
    const bytes = [...Buffer.from(say('naïve 模型 🦙'))].map((byte) => Uint8Array.of(byte));
    expect((await nexus('run -', { piped: bytes })).out).toBe('naïve 模型 🦙\n');
  });

  it('cancels the run at Ctrl-C and ends with 130 [verifies cli.exit-codes]', async () => {
    const { code, err } = await nexus(`run ${silent}`, { interruptAt: /step 1/ });
    expect(code).toBe(130);
    expect(golden(err)).toContain('cancelling run_…; press Ctrl-C again to leave at once');
    expect(err).toContain('■ cancelled: interrupted at the terminal');
    expect((await platform.until(runIdIn(err), 'cancelled')).status).toBe('cancelled');
  });

  it('says how to answer an approval where nobody can be asked', async () => {
    const running = nexus(`run ${write} --agent careful`);
    await expect.poll(async () => (await nexus('approvals')).out, { timeout: 15_000 }).toContain('fs_write');
    const { data } = JSON.parse((await nexus('approvals --json')).out);
    await nexus(`approvals deny ${data[0].id} --note never`);
    const { code, out, err } = await running;
    expect(code).toBe(0);
    expect(out).toContain('never');
    expect(golden(err)).toContain('    nexus approvals approve apr_…\n    nexus approvals deny apr_…\n');
    expect(err).toContain('✗ deny by local: never');
  });

  it('shows control characters of a model as what they are', async () => {
    const { out, err } = await nexus('run', {});
    expect(out + err).toContain('missing required argument');
    const evil = await runCli(['run', say('a\\u001b[2Jb\\u0007c')], { env });
    expect(evil.out).toBe('a\\u001b[2Jb\\u0007c\n');
    const echoed = await runCli(['run', 'a\u001b[2Jb\u0007c'], { env });
    expect(echoed.out).toMatch(/ a\\u001b\[2Jb\\u0007c\n$/);
  });

  it('follows a run without owning it: Ctrl-C detaches', async () => {
    const id = await startRun(silent);
    const { code, err } = await nexus(`runs watch ${id}`, { interruptAt: /step 1/ });
    expect(code).toBe(130);
    expect(err).toContain(`detached; the run goes on: nexus runs watch ${id}`);
    expect((await platform.until(id, 'running')).status).toBe('running');
  });
});

describe('chat', () => {
  it('goes from turn to turn in one session and ends with the input', async () => {
    const { code, out, err } = await nexus('chat', { typed: [say('first'), '', say('second')] });
    expect(code).toBe(0);
    expect(out).toBe('first\nsecond\n');
    const sessions = [...err.matchAll(/session (ses_\w+)/g)].map((match) => match[1]);
    expect(sessions.length).toBeGreaterThan(1);
    expect(new Set(sessions).size).toBe(1);
    expect(err).toContain(`nexus chat --session ${sessions[0]}`);
  });

  it('asks for an approval, showing the exact arguments', async () => {
    const yes = await nexus('chat --agent careful', { typed: [write, 'what?', 'y'] });
    expect(yes.out).toContain('a.txt');
    expect(yes.err).toContain('"content": "hello"');
    expect(yes.err).toContain('✓ approve by local');
    const no = await nexus('chat --agent careful', { typed: [write, 'n'] });
    expect(no.err).toContain('✗ deny by local');
    expect(no.err).toContain('⊘ fs_write denied');
  });

  it('runs with edited arguments', async () => {
    const { err } = await nexus('chat --agent careful', { typed: [write, 'e', '{bad', '{"path":"b.txt","content":"edited"}'] });
    expect(err).toContain('must be JSON');
    expect(err).toContain('→ fs_write {"path":"b.txt","content":"edited"}');
  });

  it('survives a refused turn', async () => {
    const long = `${'a long story '.repeat(2_500)} ${say('told')}`;
    const { out, err } = await nexus('chat --budget-tokens 6000', { typed: [long, say('hello')] });
    expect(golden(err)).toMatch(/error: the model call needs \d+ tokens, and the budget of run run_… has 6000 left/);
    expect(out).toBe('hello\n');
  });
});

describe('a server inside the command', () => {
  it('starts with a note when none runs at the default address', async () => {
    const started: RunningApp[] = [];
    const own = { NEXUS_PORT: '9', NEXUS_DATA_DIR: join(home, 'noted') };
    const { code, out, err } = await runCli(['run', say('hello')], { env: own, apps: { startAllInOne: watchedApp(started) } });
    expect({ code, out }).toEqual({ code: 0, out: 'hello\n' });
    expect(err).toContain('no server at http://127.0.0.1:9: starting one inside this command');
    await expect(fetch(started[0]?.url ?? '')).rejects.toThrow();
  });

  it('is used by any command that asks for it, and never instead of a server that was named', async () => {
    const started: RunningApp[] = [];
    const options = { env: { NEXUS_DATA_DIR: join(home, 'asked') }, apps: { startAllInOne: watchedApp(started) } };
    expect((await runCli(['keys', 'create', '--name', 'ops', '--embedded'], options)).out).toMatch(/^nx_/);
    const named = await runCli(['run', 'hello', '--url', 'http://127.0.0.1:9'], options);
    expect(named.code).toBe(1);
    expect(named.err).toContain('start a server with: nexus serve');
    expect(started).toHaveLength(1);
  });
});

describe('the journal of a run', () => {
  it('is shown as a timeline', async () => {
    const id = await finishRun(list);
    const events = await platform.events(id);
    const { out } = await nexus(`runs show ${id}`);
    const spent = await spentBy(id);
    expect(golden(out).replace(/^trace {4}[0-9a-f]{32}$/m, 'trace    <trace>')).toBe(
      [
        'run      run_…',
        'status   completed',
        'session  ses_…',
        'agent    chat (agv_…)',
        `totals   2 model calls · 1 tool call · ${spent}`,
        'trace    <trace>',
        'created  <time>',
        '',
        moment(events, 'run.created', '● run_… · agent chat · session ses_…'),
        moment(events, 'model.started', '  step 1 · sim/sim-large (simulator)'),
        moment(events, 'model.completed', `  ✓ answer · ${answerFigures(events, 0)} · tool_calls`),
        moment(events, 'tool.started', '  → fs_list {}'),
        moment(events, 'tool.started', '    allow by agent:allow[0]'),
        moment(events, 'tool.completed', `  ✓ fs_list ${ofType(events, 'tool.completed')[0]?.data.durationMs} ms`),
        moment(events, 'model.started', '  step 2 · sim/sim-large (simulator)', 1),
        moment(events, 'model.completed', `  ✓ answer · ${answerFigures(events, 1)} · stop`, 1),
        moment(events, 'run.completed', `✓ completed · 2 model calls · 1 tool call · ${spent}`),
        '',
        'There is nothing.',
        '',
      ].join('\n'),
    );
  });

  it('is listed, printed, replayed, forked, cancelled and resumed', async () => {
    const id = await finishRun('hello');
    const events = await platform.events(id);
    expect((await nexus('runs --limit 100')).out).toContain(id);
    expect((await nexus('runs list --limit 1')).err).toContain('more: --cursor');
    const printed = (await nexus(`runs events ${id}`)).out.trim().split('\n');
    expect(printed.map((line) => JSON.parse(line))).toEqual(events);
    const { stateHash } = await platform.ask<ReplayResult>('POST', `/v1/runs/${id}/replay`);
    expect((await nexus(`runs replay ${id}`)).out).toBe(`${events.length} events · the journal gives the recorded state · ${stateHash}\n`);
    expect((await nexus(`runs fork ${id} --model sim/sim-large`)).out).toMatch(/^run_/);
    expect((await nexus(`runs decisions ${id}`)).out).toMatch(/^allow +model\.invoke/m);
    expect((await nexus(`runs resume ${id}`)).code).toBe(1);
    expect((await nexus(`runs cancel ${id}`)).out).toBe(`${id} is completed already: there is nothing to stop\n`);
    const silentId = await startRun(silent);
    expect((await nexus(`runs cancel ${silentId}`)).out).toMatch(/ is (cancelled|running; it is told to stop)\n$/);
    await platform.until(silentId, 'cancelled');
    const missing = await nexus('runs show run_01h455vb4pex5vsknk084sn02q --json');
    expect(missing.code).toBe(1);
    expect(JSON.parse(missing.out)).toMatchObject({ error: { code: 'not_found' } });
  });
});

function ofType<T extends LogEvent['type']>(events: readonly LogEvent[], type: T): Extract<LogEvent, { type: T }>[] {
  return events.filter((event): event is Extract<LogEvent, { type: T }> => event.type === type);
}

/** A line of the timeline at the nth event of a type. */
function moment(events: readonly LogEvent[], type: LogEvent['type'], text: string, nth = 0): string {
  const event = ofType(events, type)[nth];
  const sinceMs = Date.parse(event?.at ?? '') - Date.parse(events[0]?.at ?? '');
  return `${`+${(sinceMs / 1000).toFixed(2)}s`.padStart(9)} ${`#${event?.seq}`.padEnd(5)} ${text}`;
}

/** What the nth answer took, as a person reads it. */
function answerFigures(events: readonly LogEvent[], nth: number): string {
  const answer = ofType(events, 'model.completed')[nth]?.data;
  const { inputTokens, outputTokens } = answer?.usage ?? {};
  return `${inputTokens} in, ${outputTokens} out · $${((answer?.costMicroUsd ?? 0) / 1e6).toFixed(6)} · ${answer?.durationMs} ms`;
}

describe('other resources', () => {
  it('lists the files of a session, prints one and saves one', async () => {
    await platform.agent('filer');
    const { id } = await platform.ask<{ id: string }>('POST', '/v1/sessions', { agent: 'filer' });
    expect((await nexus(`files list ${id}`)).out).toBe('none\n');
    await platform.complete({ sessionId: id, input: `[[sim tools=fs_write(path="notes/a.md",content="grüße")]] ${say('ok')}` });
    const listed = await nexus(`files list ${id}`);
    expect(golden(listed.out)).toMatch(/^PATH +BYTES +CHANGED +BY +SHA-256\nnotes\/a\.md +7 +<time> +run_… +[0-9a-f]{12}\n$/);
    expect(JSON.parse((await nexus(`files list ${id} --json`)).out)).toMatchObject({ data: [{ path: 'notes/a.md', bytes: 7 }] });
    expect(await nexus(`files get ${id} notes/a.md`)).toMatchObject({ code: 0, out: 'grüße' });
    const saved = await nexus(`files get ${id} notes/a.md --out copy.md`);
    expect(saved).toMatchObject({ code: 0, out: 'saved notes/a.md as copy.md\n', saved: { 'copy.md': 'grüße' } });
    expect(await nexus(`files get ${id} missing`)).toMatchObject({ code: 1, err: expect.stringContaining('there is no file "missing"') });
    expect((await nexus(`files get ${id} notes/a.md --json`)).code).toBe(2);
    expect((await nexus(`files list ${id} --run run_none`)).err).toContain('has no run run_none');
  });

  it('creates and shows a session with its budget and policy', async () => {
    const { out } = await nexus('sessions create --budget-usd 0.5 --budget-tokens 9000 --allow fs_* code_js --approve fs_write');
    expect(golden(out)).toBe(
      [
        'session  ses_…',
        'status   active',
        'agent    chat (agv_…)',
        'allow    fs_* code_js',
        'approve  fs_write',
        'created  <time>',
        'BUDGET        LIMIT        SPENT      RESERVED',
        'costMicroUsd  $0.5000      $0.000000  $0.000000',
        'tokens        9000 tokens  0 tokens   0 tokens',
        '',
      ].join('\n'),
    );
    const id = /ses_\w+/.exec(out)?.[0];
    expect((await nexus(`sessions show ${id}`)).out).toBe(out);
    await nexus(`run ${say('hi')} --session ${id}`);
    expect((await nexus(`sessions messages ${id}`)).out).toBe('user: [[sim say="hi"]]\nassistant: hi\n');
    expect((await nexus(`sessions close ${id}`)).out).toContain('is closed');
    expect((await nexus('sessions')).out).toContain('AGENT');
  });

  it('answers approvals with edits and shows them', async () => {
    const runId = await startRun(`${write} --agent careful`);
    const id = await approvalOf(runId);
    const shown = golden((await nexus(`approvals show ${id}`)).out);
    expect(shown).toContain('choices   approve, deny');
    expect(shown).toContain('"content": "hello"');
    const approve = await nexus(`approvals approve ${id} --arguments {"path":"c.txt","content":"edited"}`);
    expect(approve.out).toContain(`${id}: approve`);
    expect((await nexus(`approvals approve ${id}`)).code).toBe(1);
    expect((await nexus('approvals list --status all')).out).toMatch(new RegExp(`^${id} +approve +fs_write .* ${runId}$`, 'm'));
    await platform.until(runId, 'completed');
    expect((await nexus(`runs show ${runId}`)).out).toContain('→ fs_write {"path":"c.txt","content":"edited"}');
  });

  it('lists agents, tools, models, budgets and usage', async () => {
    expect(golden((await nexus('agents')).out)).toMatch(/^chat +agv_… +default +built-in +General assistant/m);
    expect((await nexus('agents show chat')).out).toContain('maxSteps: 25');
    expect((await nexus('tools')).out).toMatch(/^fs_read +built-in +none +fs\.read /m);
    expect((await nexus('models')).out).toMatch(/^sim\/sim-small +\d+ +\$0\.1000 +\$0\.4000 +simulator$/m);
    expect((await nexus('budgets set user:somebody $2.50 --window month')).out).toContain('user:somebody: $2.5000 a month');
    expect((await nexus('budgets set user:somebody 25')).out).toContain('user:somebody: $25.0000 in total');
    expect((await nexus('budgets set user:somebody 200k --unit tokens')).out).toContain('user:somebody: 200000 tokens in total');
    const unclear = await nexus('budgets set user:somebody 0.5 --unit costMicroUsd');
    expect(unclear.code).toBe(2);
    expect(unclear.err).toContain('leave the unit out for dollars');
    expect((await nexus('budgets --scope user:somebody')).out).toMatch(
      /^user:somebody +month \d{4}-\d\d +\$2\.5000 +\$0\.000000 +\$0\.000000$/m,
    );
    expect((await nexus('budgets set user:* 10')).out).toContain('user:*: $10.0000 in total');
    expect((await nexus('budgets remove user:somebody')).out).toContain('user:somebody: the limit in total is gone');
    expect((await nexus('budgets --scope user:somebody')).out).toMatch(/^user:somebody +total +\$10\.0000 \(\*\) /m);
    expect((await nexus('budgets set user:somebody none')).out).toContain('user:somebody: no limit in total');
    await nexus('budgets remove user:*');
    expect((await nexus('budgets --scope user:*')).out).toMatch(/^user:\* +total +no limit /m);
    const gone = await nexus('budgets remove user:nobody');
    expect(gone.err).toContain('user:nobody has no limit of its own in costMicroUsd in total');
    expect((await nexus('budgets set project:* 10')).err).toContain('only user:* is a pattern');
  });

  it('stores an agent from a file, checking it first', async () => {
    const files = { 'a.yaml': 'name: helper\nmodels: [sim/sim-small]\n', 'b.yaml': 'name: helper\nmodel: x\n' };
    expect((await nexus('agents put a.yaml', { files })).out).toContain('helper agv_');
    const wrong = await nexus('agents put b.yaml', { files });
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain('model: unknown field; did you mean "models"?');
  });

  it('shows the definitions of all nodes, and imports a folder', async () => {
    const { agentsDir, policiesDir } = platform.app.config;
    const shown = await nexus('definitions');
    expect(shown.out).toMatch(/^policies: none imported\n {2}decisions name it [0-9a-f]{16}\n/);
    expect(shown.out).toContain(`\n  ${policiesDir} holds nothing\nagents: none imported\n  ${agentsDir} holds nothing\nNODE `);
    expect(shown.out).toMatch(/\n\S+ \* +- \(folder: none\) +- \(folder: none\) +[0-9a-f]{16} /);
    const empty = await nexus('definitions import agents');
    expect(empty.code).toBe(1);
    expect(empty.err).toContain('holds no agents; to have none, say so: --allow-empty');
    await mkdir(policiesDir, { recursive: true });
    await writeFile(join(policiesDir, 'a.cedar'), 'forbid (principal, action == Action::"tool.execute", resource == Tool::"nothing");');
    await writeFile(join(policiesDir, 'a.txt'), 'notes');
    const imported = await nexus('definitions import policies');
    expect(golden(imported.out)).toMatch(
      /^policies: version 1, imported <time> from .*\n.*holds the active version\n {2}not read: a\.txt \(its name/s,
    );
    const none = await nexus('definitions import agents --allow-empty --json');
    expect(JSON.parse(none.out)).toMatchObject({ kind: 'agents', inUse: 1, folder: { state: 'active' } });
  });

  it('runs a tool', async () => {
    const { out } = await nexus('sessions create --json');
    const { id } = JSON.parse(out);
    await nexus(`tools run fs_write --session ${id} --input {"path":"x","content":"written"}`);
    expect((await nexus(`tools run fs_read --session ${id} --input {"path":"x"}`)).out).toBe('written\n');
    expect((await nexus(`tools run nope --session ${id}`)).code).toBe(1);
  });

  it('makes, lists and revokes keys; only the secret is data', async () => {
    const made = await nexus('keys create --name ops --scope runs approvals --role lead night');
    expect(made.out).toMatch(/^nx_[0-9a-z]{26}_[\w-]{43}\n$/);
    const id = /key_\w+/.exec(made.err)?.[0];
    expect((await nexus(`keys revoke ${id}`)).code).toBe(0);
    expect((await nexus('keys')).out).toMatch(new RegExp(`${id} +ops +runs approvals +developer lead night +revoked`));
  });
});

describe('the machine', () => {
  it('shows the configuration without secrets, and refuses a wrong one [verifies cli.config]', async () => {
    const files = { 'nexus.config.yaml': 'port: 9001\n' };
    const { out } = await nexus('config print', { files, env: { OPENAI_API_KEY: 's3cret' } });
    expect(out).toContain('port: 9001');
    expect(out).toContain('apiKey: "[redacted]"');
    const wrong = await nexus('config', { files: { 'nexus.config.yaml': 'prot: 1\n' } });
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain('prot: unknown field; did you mean "port"? (from nexus.config.yaml)');
  });

  it.each(['runs shw', 'help runs shw', 'runs shw --limit 3'])('names the command that `%s` may have meant', async (command) => {
    const { code, out, err } = await nexus(command);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toContain("unknown command 'shw'\n(Did you mean show?)\n(commands of nexus runs: list, show, watch,");
    expect(err).not.toContain('too many arguments');
  });

  it.each([
    ['help runs show', 'Usage: nexus runs show [options] <run>'],
    ['help runs', 'Usage: nexus runs [options] [command]'],
    ['help', 'Usage: nexus [options] [command]'],
  ])('shows by `%s` what is asked for', async (command, usage) => {
    expect(await nexus(command)).toMatchObject({ code: 0, err: '', out: expect.stringContaining(usage) });
  });

  it('names variables that set nothing, to every command that reads them', async () => {
    const misspelt = { NEXUS_DATABASE_ULR: 'x', NEXUS_SERVICE_HOST: '10.0.0.1', NEXUS_PORT_8080_TCP_ADDR: '10.0.0.1' };
    const { code, out, err } = await nexus('runs list --json', { env: misspelt });
    expect(code).toBe(0);
    expect(JSON.parse(out)).toHaveProperty('data');
    expect(err).toBe('NEXUS_DATABASE_ULR is no setting and is not read; did you mean NEXUS_DATABASE_URL?\n');
    expect((await nexus('doctor', { env: misspelt })).out).toMatch(/! environment +NEXUS_DATABASE_ULR is no setting/);
  });

  it('checks what is needed and says what to do', async () => {
    const { code, out } = await nexus('doctor --no-color', {
      env: { NEXUS_DATA_DIR: '/dev/null/nexus', NEXUS_DATABASE_URL: 'postgres://u:p@127.0.0.1:9/d' },
    });
    expect(code).toBe(1);
    expect(out).toMatch(/✓ node/);
    expect(out).toMatch(/✓ server +version 0\.0\.0-test answers/);
    expect(out).toMatch(/✗ data folder +dataDir .*\/dev\/null\/nexus leads through a file/);
    expect(out).toMatch(/✗ database +Postgres at 127\.0\.0\.1:9 cannot be used: connect ECONNREFUSED .*check databaseUrl/);
    expect(out).not.toContain('u:p@');
    expect(out).toMatch(/! providers +none is configured: the simulator answers/);
    expect(out).toMatch(/✓ sandbox/);
  });

  it('serves until it is interrupted, then drains', async () => {
    const started: RunningApp[] = [];
    const { code, out, err } = await nexus('serve --port 0', {
      interruptAt: /ready/,
      env: { NEXUS_DATA_DIR: join(home, 'served') },
      apps: { startAllInOne: watchedApp(started) },
    });
    expect(code).toBe(0);
    expect(out).toBe(`Nexus Agent is ready at ${started[0]?.url}\n`);
    expect(err).not.toContain('press Ctrl-C'); // collected as a log of JSON lines
    await expect(fetch(started[0]?.url ?? '')).rejects.toThrow();
  });

  it('tells a person at a terminal how to stop it at once', async () => {
    const { code, err } = await nexus('serve --port 0', {
      ...{ interruptAt: /ready/, typed: [], env: { NEXUS_DATA_DIR: join(home, 'typed') } },
      apps: { startAllInOne: watchedApp([]) },
    });
    expect(code).toBe(0);
    expect(err).toContain('draining; press Ctrl-C again to stop at once');
  });

  it('drains too when its terminal is closed', async () => {
    const started: RunningApp[] = [];
    const { code } = await nexus('serve --port 0', {
      hangUpAt: /ready/,
      env: { NEXUS_DATA_DIR: join(home, 'hung-up') },
      apps: { startAllInOne: watchedApp(started) },
    });
    expect(code).toBe(0);
    await expect(fetch(started[0]?.url ?? '')).rejects.toThrow();
  });

  it('migrates the database that is configured', async () => {
    const dataDir = join(home, 'migrated');
    const { code, out } = await nexus('migrate', { env: { NEXUS_DATA_DIR: dataDir }, apps: { migrateStore } });
    expect(code).toBe(0);
    expect(out).toBe('the database has the schema of this version\n');
    expect(existsSync(join(dataDir, 'nexus.db'))).toBe(true);
  });

  it('runs the demo through the apps, which stays up only on a terminal', async () => {
    const calls: boolean[] = [];
    const runDemo: Apps['runDemo'] = async ({ interactive, out }) => {
      calls.push(interactive);
      out('shown\n');
    };
    expect((await nexus('demo', { apps: { runDemo } })).out).toBe('shown\n');
    expect(calls).toEqual([false]);
  });
});
