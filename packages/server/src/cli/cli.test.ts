import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestApi, type TestApi } from '#api/testing';
import { fakeApp, runCli } from './cli.testkit.ts';

let api: TestApi;
let env: Record<string, string>;
beforeAll(async () => {
  api = await startTestApi();
  env = { NEXUS_URL: api.url };
});
afterAll(() => api.api.close());

const nexus = (command: string, options: Parameters<typeof runCli>[1] = {}) =>
  runCli(
    command.split(' ').filter((word) => word !== ''),
    { ...options, env: { ...env, ...options.env } },
  );

/** Output with the parts that differ each time made equal. */
const golden = (text: string) =>
  text.replace(/\b(ses|run|apr|key)_[0-7][0-9a-hjkmnp-tv-z]{25}/g, '$1_…').replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>');

const startRun = async (input: string) => (await nexus(`run --background ${input}`)).out.trim();

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
      expect(JSON.parse((await nexus(command)).out)).toMatchObject({ data: [{ id: 'sim/sim-small' }], nextCursor: null });
    }
  });
});

describe('run', () => {
  it('streams the answer to stdout and what happens to stderr', async () => {
    const { code, out, err } = await nexus('run hello there');
    expect(code).toBe(0);
    expect(out).toBe('Echo: hello there\n');
    expect(golden(err)).toBe(
      [
        '● run_… · agent chat · session ses_…',
        '  step 1 · sim/sim-small (simulator)',
        '✓ completed · 1 model call · 0 tool calls · 120 tokens · $0.001234',
        '',
      ].join('\n'),
    );
  });

  it('shows tools', async () => {
    const { err } = await nexus('run tool');
    expect(err).toContain('  → fs_write {"path":"a.txt"}\n  ✓ fs_write 12 ms\n');
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

  it('tells refusals by policy and budget from other failures [verifies cli.exit-codes]', async () => {
    expect((await nexus('run refuse-policy')).code).toBe(3);
    expect((await nexus('run fail-policy')).code).toBe(3);
    expect((await nexus('run refuse-budget')).code).toBe(4);
    const failed = await nexus('run fail-budget');
    expect(failed.code).toBe(4);
    expect(golden(failed.err)).toContain('✗ failed: budget_exceeded, the session has 10 micro-USD left');
    expect(golden(failed.err)).toContain('it can go on: nexus runs resume run_…');
    expect((await nexus('run boom')).code).toBe(1);
  });

  it('reads standard input', async () => {
    expect((await nexus('run -', { piped: 'from a pipe' })).out).toBe('Echo: from a pipe\n');
    expect((await nexus('chat', { piped: 'piped chat' })).out).toBe('Echo: piped chat\n');
    expect((await nexus('run -', { piped: '' })).code).toBe(2);
  });

  it('cancels the run at Ctrl-C and ends with 130 [verifies cli.exit-codes]', async () => {
    const { code, err } = await nexus('run wait', { interruptAt: /step 1/ });
    expect(code).toBe(130);
    expect(golden(err)).toContain('cancelling run_…; press Ctrl-C again to leave at once');
    expect(err).toContain('■ cancelled: interrupted at the terminal');
  });

  it('says how to answer an approval where nobody can be asked', async () => {
    const running = nexus('run approve it');
    await expect.poll(async () => (await nexus('approvals')).out).toContain('fs_write');
    const { data } = JSON.parse((await nexus('approvals --json')).out);
    await nexus(`approvals deny ${data[0].id} --note no`);
    const { code, out, err } = await running;
    expect(code).toBe(0);
    expect(out).toContain('I was not allowed to write.');
    expect(golden(err)).toContain('    nexus approvals approve apr_…\n    nexus approvals deny apr_…\n');
    expect(err).toContain('✗ deny by local');
  });

  it('keeps control characters of a model away from the terminal', async () => {
    const { out, err } = await nexus('run', {});
    expect(out + err).toContain('missing required argument');
    const evil = await runCli(['run', 'a\u001b[2Jb\u0007c'], { env });
    expect(evil.out).toBe('Echo: a[2Jbc\n');
  });

  it('follows a run without owning it: Ctrl-C detaches', async () => {
    const id = await startRun('wait');
    const { code, err } = await nexus(`runs watch ${id}`, { interruptAt: /step 1/ });
    expect(code).toBe(130);
    expect(err).toContain(`detached; the run goes on: nexus runs watch ${id}`);
    expect(api.service.runOf(id).run.status).toBe('running');
  });
});

describe('chat', () => {
  it('goes from turn to turn in one session and ends with the input', async () => {
    const { code, out, err } = await nexus('chat', { typed: ['first', '', 'second'] });
    expect(code).toBe(0);
    expect(out).toBe('Echo: first\nEcho: second\n');
    const sessions = [...err.matchAll(/session (ses_\w+)/g)].map((match) => match[1]);
    expect(new Set(sessions).size).toBe(1);
    expect(err).toContain(`nexus chat --session ${sessions[0]}`);
  });

  it('asks for an approval, showing the exact arguments', async () => {
    const yes = await nexus('chat', { typed: ['approve it', 'what?', 'y'] });
    expect(yes.out).toBe('The file is written.\n');
    expect(yes.err).toContain('"text": "hello"');
    expect(yes.err).toContain('✓ approve by local');
    expect((await nexus('chat', { typed: ['approve it', 'n'] })).out).toBe('I was not allowed to write.\n');
  });

  it('runs with edited arguments', async () => {
    const { err } = await nexus('chat', { typed: ['approve it', 'e', '{bad', '{"path":"b.txt"}'] });
    expect(err).toContain('must be JSON');
    expect(err).toContain('→ fs_write {"path":"b.txt"}');
  });

  it('survives a refused turn', async () => {
    const { out, err } = await nexus('chat', { typed: ['refuse-budget', 'hello'] });
    expect(err).toContain('error: session ses_1 has 10 of 10');
    expect(out).toBe('Echo: hello\n');
  });
});

describe('a server inside the command', () => {
  it('starts with a note when none runs at the default address', async () => {
    const started: TestApi[] = [];
    const { code, out, err } = await runCli(['run', 'hello'], { env: { NEXUS_PORT: '9' }, apps: { startAllInOne: fakeApp(started) } });
    expect({ code, out }).toEqual({ code: 0, out: 'Echo: hello\n' });
    expect(err).toContain('no server at http://127.0.0.1:9: starting one inside this command');
    await expect(fetch(started[0]?.url ?? '')).rejects.toThrow();
  });

  it('is used by any command that asks for it, and never instead of a server that was named', async () => {
    const started: TestApi[] = [];
    const apps = { startAllInOne: fakeApp(started) };
    expect((await runCli(['keys', 'create', '--name', 'ops', '--embedded'], { apps })).out).toMatch(/^nx_/);
    const named = await runCli(['run', 'hello', '--url', 'http://127.0.0.1:9'], { apps });
    expect(named.code).toBe(1);
    expect(named.err).toContain('start a server with: nexus serve');
    expect(started).toHaveLength(1);
  });
});

describe('the journal of a run', () => {
  it('is shown as a timeline', async () => {
    const id = await startRun('tool');
    const { out } = await nexus(`runs show ${id}`);
    expect(golden(out)).toBe(
      [
        'run      run_…',
        'status   completed',
        'session  ses_…',
        'agent    chat (agv_fake)',
        'totals   1 model call · 1 tool call · 120 tokens · $0.001234',
        'created  <time>',
        '',
        '   +0.00s #1    ● run_… · agent chat · session ses_…',
        '   +0.30s #4      step 1 · sim/sim-small (simulator)',
        '   +0.40s #5      → fs_write {"path":"a.txt"}',
        '   +0.40s #5        allow by agent.allow',
        '   +0.50s #6      ✓ fs_write 12 ms',
        '   +0.60s #7      ✓ answer · 100 in, 20 out · $0.001234 · 50 ms · stop',
        '   +0.80s #9    ✓ completed · 1 model call · 1 tool call · 120 tokens · $0.001234',
        '',
        'The file is written.',
        '',
      ].join('\n'),
    );
  });

  it('is listed, printed, replayed, forked, cancelled and resumed', async () => {
    const id = await startRun('hello');
    expect((await nexus('runs --limit 100')).out).toContain(id);
    expect((await nexus('runs list --limit 1')).err).toContain('more: --cursor');
    expect((await nexus(`runs events ${id}`)).out.trim().split('\n')).toHaveLength(7);
    expect((await nexus(`runs replay ${id}`)).out).toBe('7 events · the journal gives the recorded state · a1b2\n');
    expect((await nexus(`runs fork ${id} --model sim/other`)).out).toMatch(/^run_/);
    expect((await nexus(`runs decisions ${id}`)).out).toContain('allow   tool.execute');
    expect((await nexus(`runs resume ${id}`)).code).toBe(1);
    expect((await nexus(`runs cancel ${await startRun('wait')}`)).out).toContain('is cancelled');
    const missing = await nexus('runs show run_01h455vb4pex5vsknk084sn02q --json');
    expect(missing.code).toBe(1);
    expect(JSON.parse(missing.out)).toMatchObject({ error: { code: 'not_found' } });
  });
});

describe('other resources', () => {
  it('creates and shows a session with its budget and policy', async () => {
    const { out } = await nexus('sessions create --budget-usd 0.5 --budget-tokens 9000 --allow fs_* code_js --approve fs_write');
    expect(golden(out)).toBe(
      [
        'session  ses_…',
        'status   active',
        'agent    chat (agv_1)',
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
    await nexus(`run hello --session ${id}`);
    expect((await nexus(`sessions messages ${id}`)).out).toBe('user: hello\n');
    expect((await nexus(`sessions close ${id}`)).out).toContain('is closed');
    expect((await nexus('sessions')).out).toContain('AGENT');
  });

  it('answers approvals with edits and shows them', async () => {
    await startRun('approve');
    const { data } = JSON.parse((await nexus('approvals --json')).out);
    const id = data[0].id;
    expect(golden((await nexus(`approvals show ${id}`)).out)).toContain('choices   approve, deny');
    expect((await nexus(`approvals approve ${id} --arguments {"path":"c.txt"}`)).out).toContain(`${id}: approve`);
    expect((await nexus(`approvals approve ${id}`)).code).toBe(1);
    expect((await nexus('approvals list --status all')).out).toContain('{"path":"c.txt"}');
  });

  it('lists agents, tools, models, budgets and usage', async () => {
    expect((await nexus('agents')).out).toContain('chat  agv_1    sim/sim-small  built-in  General help');
    expect((await nexus('agents show chat')).out).toContain('maxSteps: 25');
    expect((await nexus('tools')).out).toContain('fs_read  none     fs.read');
    expect((await nexus('models')).out).toMatch(/sim\/sim-small +100000 +\$1\.0000 +\$4\.0000 +simulator/);
    expect((await nexus('budgets')).out).toContain('tenant:default  month 2026-01  $5.0000');
    expect((await nexus('budgets usage --days 3')).out).toContain('2026-01-01  $0.001234  120');
    expect((await nexus('budgets set tenant:default $2.50 --window month')).out).toContain('tenant:default: $2.5000 a month');
  });

  it('stores an agent from a file, checking it first', async () => {
    const files = { 'a.yaml': 'name: helper\nmodels: [sim/sim-small]\n', 'b.yaml': 'name: helper\nmodel: x\n' };
    expect((await nexus('agents put a.yaml', { files })).out).toContain('helper agv_');
    const wrong = await nexus('agents put b.yaml', { files });
    expect(wrong.code).toBe(2);
    expect(wrong.err).toContain('model: unknown field; did you mean "models"?');
  });

  it('runs a tool', async () => {
    const { out } = await nexus('sessions create --json');
    const { id } = JSON.parse(out);
    expect((await nexus(`tools run fs_read --session ${id} --input {"path":"x"}`)).out).toBe('read x\n');
    expect((await nexus(`tools run nope --session ${id}`)).code).toBe(1);
  });

  it('makes, lists and revokes keys; only the secret is data', async () => {
    const made = await nexus('keys create --name ops --scope runs approvals');
    expect(made.out).toMatch(/^nx_\w+\n$/);
    const id = /key_\w+/.exec(made.err)?.[0];
    expect((await nexus(`keys revoke ${id}`)).code).toBe(0);
    expect((await nexus('keys')).out).toMatch(new RegExp(`${id} +ops +runs approvals +revoked`));
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

  it('checks what is needed and says what to do', async () => {
    const { code, out } = await nexus('doctor --no-color', {
      env: { NEXUS_DATA_DIR: '/dev/null/nexus', NEXUS_DATABASE_URL: 'postgres://u:p@127.0.0.1:9/d' },
    });
    expect(code).toBe(1);
    expect(out).toMatch(/✓ node/);
    expect(out).toMatch(/✓ server +version 0\.0\.0-test answers/);
    expect(out).toMatch(/✗ data folder +\/dev\/null\/nexus cannot be written/);
    expect(out).toMatch(/✗ database +127\.0\.0\.1:9 cannot be reached/);
    expect(out).toMatch(/! providers +none is configured: the simulator answers/);
    expect(out).toMatch(/✓ sandbox/);
  });

  it('serves until it is interrupted, then drains', async () => {
    const started: TestApi[] = [];
    const { code, out, err } = await nexus('serve --port 0', { interruptAt: /ready/, apps: { startAllInOne: fakeApp(started) } });
    expect(code).toBe(0);
    expect(out).toBe(`Nexus Agent is ready at ${started[0]?.url}\n`);
    expect(err).toContain('draining');
  });

  it('migrates and runs the demo through the apps', async () => {
    const calls: string[] = [];
    const apps = {
      migrateDatabase: async () => void calls.push('migrate'),
      runDemo: async ({ interactive, out }: { interactive: boolean; out: (text: string) => void }) => {
        calls.push(`demo ${interactive}`);
        out('shown\n');
      },
    };
    expect((await nexus('migrate', { apps })).code).toBe(0);
    expect((await nexus('demo', { apps })).out).toBe('shown\n');
    expect(calls).toEqual(['migrate', 'demo false']);
  });
});
