import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli } from './cli.testkit.ts';
import { processIo } from './io.ts';

let platform: TestPlatform;
let folder: string;
beforeAll(async () => {
  platform = await startTestPlatform();
  folder = await mkdtemp(join(tmpdir(), 'nexus-test-'));
});
afterAll(async () => {
  await platform.close();
  await rm(folder, { recursive: true, force: true });
});

type Options = Parameters<typeof runCli>[1];
const nexus = (command: string, options: Options = {}) =>
  runCli(command.split(' '), { ...options, env: { NEXUS_URL: platform.url, ...options?.env } });

it('gives a program that asks for JSON every error as JSON, also that of how it was called [verifies cli.exit-codes]', async () => {
  for (const command of [
    'lst',
    'runs lst',
    'runs show',
    'usage --by usr',
    'runs list --limit many',
    'agents put none.yaml',
    'run hello --budget-usd x',
  ]) {
    const { code, out, err } = await nexus(`${command} --json`);
    expect(code, command).toBe(2);
    expect(JSON.parse(out), command).toMatchObject({ error: { code: 'usage', detail: expect.not.stringContaining('error:') } });
    expect(err, command).toContain('error:');
  }
});

it('names the nearest word where only some are allowed', async () => {
  for (const [command, nearest] of [
    ['runs list --status compelted', 'completed'],
    ['usage --by usr', 'user'],
    ['definitions import agentes', 'agents'],
    ['serve --log-level wran', 'warn'],
    ['run hi --while-busy que', 'queue'],
    ['keys create --name x --scope runz', 'runs'],
  ] as const) {
    const { code, err } = await nexus(command);
    expect(code, command).toBe(2);
    expect(err, command).toContain(`(Did you mean ${nearest}?)`);
  }
});

it('names the nearest file', async () => {
  const files = { 'analyst.yaml': 'name: analyst\nmodels: [sim/sim-large]\n' };
  expect((await nexus('agents put analist.yaml', { files })).err).toContain('there is no file analist.yaml; did you mean analyst.yaml?');
  expect((await nexus('config --config analyst.yml', { files })).err).toContain('did you mean analyst.yaml?');
  await platform.agent('writer');
  const runId = await platform.complete({
    agent: 'writer',
    input: '[[sim tools=fs_write(path="data/report.md",content="x")]] [[sim say="done"]]',
  });
  const { sessionId } = await platform.ask<{ sessionId: string }>('GET', `/v1/runs/${runId}`);
  expect((await nexus(`files get ${sessionId} data/reprot.md`)).err).toContain('did you mean "data/report.md"?');
  const empty = await platform.complete({ input: 'hello' });
  const none = await platform.ask<{ sessionId: string }>('GET', `/v1/runs/${empty}`);
  expect((await nexus(`files get ${none.sessionId} a`)).err).toMatch(/there is no file "a"/);
});

it('names what an agent that is stored names and there is not: tools, models [verifies agents.names]', async () => {
  const files = { 'a.yaml': 'name: misspelt\nmodels: [nowhere/m, default]\ntools: [fs_wrte]\n' };
  const { code, out, err } = await nexus('agents put a.yaml', { files });
  expect(code).toBe(0);
  expect(out).toMatch(/^misspelt agv_\w+\n$/);
  const [model, tool, ...rest] = err.split('\n');
  expect(model).toMatch(/^warning: models\[0\]: there is no model "nowhere\/m"; known are sim\//);
  expect(tool).toBe('warning: tools[0]: there is no tool "fs_wrte"; did you mean "fs_write"?');
  expect(rest).toEqual(['']);
});

it('names the nearest of the simulated models, where one is stored and where one is asked for [verifies agents.names]', async () => {
  const files = { 'a.yaml': 'name: nearly\nmodels: [sim/sim-lrge, default]\n' };
  const { err } = await nexus('agents put a.yaml', { files });
  expect(err).toBe('warning: models[0]: there is no model "sim/sim-lrge"; did you mean "sim/sim-large"?\n');
  for (const [asked, near] of [
    ['sim/sim-lrge', 'sim/sim-large'],
    ['sim-smal', 'sim-small'],
  ]) {
    const run = await nexus(`run hello --model ${asked}`);
    expect(run.code).not.toBe(0);
    expect(run.err).toContain(`no provider serves the model ${asked}; did you mean ${near}?`);
  }
});

it('runs a tool as an agent would be granted it, in a session that is closed after it [verifies cli.tools-run]', async () => {
  await platform.agent('held', { tools: ['fs_*'], policy: { allow: ['fs_list', 'fs_write'] } });
  const run = (rest: string) => nexus(`tools run ${rest}`);
  const ran = await run('fs_list --agent held --json');
  expect(ran.code).toBe(0);
  expect(JSON.parse(ran.out)).toMatchObject({ status: 'ok' });
  const [, session = ''] = /ran in session (ses_\w+), which is closed/.exec(ran.err) ?? [];
  expect(await platform.ask('GET', `/v1/sessions/${session}`)).toMatchObject({ agent: 'held', status: 'closed' });
  expect(await run('fs_read --agent held --input {"path":"a"}')).toMatchObject({ code: 3, err: expect.stringMatching(/policy_denied/) });
  expect((await run('fs_raed --agent held')).err).toMatch(
    /there is no tool "fs_raed"; did you mean "fs_read"\?; agent held is offered: fs_/,
  );
  for (const none of ['fs_list', `fs_list --agent held --session ${session}`])
    expect(await run(none)).toMatchObject({ code: 2, err: expect.stringMatching(/say either --agent/) });
});

it('says that a folder to save in is missing, and leaves nothing behind', async () => {
  const { writeFile } = processIo();
  await expect(writeFile(join(folder, 'none', 'a.txt'), [])).rejects.toMatchObject({
    code: 'usage',
    message: `there is no folder ${join(folder, 'none')} to save a.txt in; make it first`,
  });
  await writeFile(join(folder, 'a.txt'), [Buffer.from('x')]);
  expect(await readFile(join(folder, 'a.txt'), 'utf8')).toBe('x');
});

it('shows the options of all commands with each, and an example of a time', async () => {
  const help = await nexus('keys create --help');
  expect(help.out).toContain('--expires <time>');
  expect(help.out).toContain('2027-01-31T12:00:00Z');
  for (const option of ['--url', '--config', '--json', '--embedded', '--no-color']) expect(help.out).toContain(option);
  expect((await nexus('help runs show')).out).toContain('--json');
  for (const line of help.out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
});

it('takes a time with its zone only', async () => {
  for (const wrong of ['tomorrow', '2030-01-01', '2030-01-01T00:00:00', '2030-13-01T00:00:00Z'])
    expect((await nexus(`keys create --name x --expires ${wrong}`)).err).toContain('such as 2027-01-31T12:00:00Z');
  expect((await nexus('keys create --name x --expires 2099-01-01T01:00+01:00 --json')).out).toContain('2099-01-01T00:00:00.000Z');
});

it('says what is missing where there is nothing to do', async () => {
  for (const argv of [
    ['run', ''],
    ['run', ' '],
    ['chat', ''],
    ['run', '', ''],
  ]) {
    const { code, err } = await runCli(argv, { env: { NEXUS_URL: platform.url } });
    expect(code).toBe(2);
    expect(err).toContain("nexus run 'the task'");
  }
});

it('says how to go on where the server is gone in the middle, and after Ctrl-C', async () => {
  const { sessionId } = await platform.ask<{ sessionId: string }>('GET', `/v1/runs/${await platform.complete({ input: 'hello' })}`);
  const runId = await platform.start({ input: 'hello', model: 'sim/sim-large?stall=0' });
  const server = createServer((request, response) => {
    if (request.method !== 'POST') return void request.socket.destroy();
    response.writeHead(200, { 'content-type': 'text/event-stream', 'nexus-run-id': runId });
    const data = { type: 'run.created', runId, seq: 1, at: new Date(0).toISOString(), data: { sessionId, agent: 'chat', input: 'x' } };
    response.write(`id: 1\ndata: ${JSON.stringify(data)}\n\n`, () => {
      server.close();
      request.socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const env = { NEXUS_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  const lost = await nexus('run hello', { env });
  expect(lost.code).toBe(1);
  expect(lost.err).toContain(`nexus runs watch ${runId}`);
  const stopped = await nexus('run hello --model sim/sim-large?stall=0', { interruptAt: /step 1/ });
  expect(stopped.code).toBe(130);
  expect(stopped.err).toMatch(/press Ctrl-C again to leave at once \(then: nexus runs watch run_\w+\)/);
  expect(stopped.err).toMatch(/go on in its session with: nexus run --session ses_\w+/);
});

it('sends no word with a slash to the model, which was meant for the chat', async () => {
  const { out, err } = await nexus('chat', { typed: ['/help', '[[sim say="/usr/bin is a folder"]]'] });
  expect(out).toContain('/usr/bin is a folder\n');
  expect(err).toContain('/help is no command, and was not sent');
  expect(err.match(/● run_/g)).toHaveLength(1);
});

it('makes, lists and revokes keys of another tenant, and tells one that has expired', async () => {
  const made = await nexus(`keys create --name partner --tenant acme --expires ${new Date(Date.now() + 300).toISOString()}`);
  expect(made.err).toContain(' · tenant acme · ');
  const id = /key_\w+/.exec(made.err)?.[0];
  expect((await nexus('keys')).out).not.toContain('partner');
  await setTimeout(350);
  expect((await nexus('keys --tenant acme')).out).toMatch(new RegExp(`${id} +partner +runs approvals +developer +expired`));
  expect((await nexus(`keys revoke ${id}`)).code).toBe(0);
  expect((await nexus('keys list --tenant acme')).out).toContain('revoked');
  expect((await nexus('keys list --tenant Acme')).err).toContain('lower-case letters');
});
