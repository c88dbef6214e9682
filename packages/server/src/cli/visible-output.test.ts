import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestPlatform, type TestPlatform } from '#apps/testing';
import { runCli } from './cli.testkit.ts';
import { createPrintable, createStyle, table } from './style.ts';

const evil = 'x\u001b[2J\u001b]52;c;cm0=\u0007\u009b31m\u202eabc\u2066\u200b\ufeff\u{e0041}\rFORGED\u2028\u0085\u007fz';
/** What may be in no output once our own styles are taken out. */
const unseen = /[^\P{Cc}\n\t]|[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/u;
const withoutStyles = (text: string) => text.replaceAll(new RegExp(`${String.fromCharCode(0x1b)}[[0-9;]*m`, 'g'), '');

let platform: TestPlatform;
const ids = { run: '', session: '', approval: '' };

beforeAll(async () => {
  platform = await startTestPlatform();
  await platform.agent('plain', { description: evil, instructions: evil });
  await platform.agent('asks', { description: evil, policy: { approve: ['*'] } });
  await platform.ask('POST', '/v1/keys', { name: evil, scopes: ['runs'], roles: ['lead'] }).catch(() => undefined);
  const script = (name: string, input: object) =>
    `[[sim tools=${name}(${Object.entries(input)
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      .join(',')})]] [[sim say=${JSON.stringify(evil)}]]`;
  ids.run = await platform.complete({ agent: 'plain', input: script('fs_write', { path: 'a\u202egpj.exe', content: evil }) });
  ids.session = (await platform.ask<{ sessionId: string }>('GET', `/v1/runs/${ids.run}`)).sessionId;
  const waiting = await platform.start({
    agent: 'asks',
    input: script('fs_write', { path: 'b', content: `ok${' '.repeat(5_000)}; rm -rf ${evil}` }),
  });
  await platform.until(waiting, 'waiting');
  const page = await platform.ask<{ data: { id: string }[] }>('GET', '/v1/approvals');
  ids.approval = page.data[0]?.id ?? '';
}, 60_000);
afterAll(() => platform?.close());

const commands = [
  'agents list',
  'agents show plain',
  'sessions list',
  'sessions show SESSION',
  'sessions messages SESSION',
  'runs list',
  'runs show RUN',
  'runs watch RUN',
  'runs events RUN',
  'runs decisions RUN',
  'files list SESSION',
  'approvals list',
  'approvals show APPROVAL',
  'keys list',
  'models list',
  'tools list',
  'budgets list',
  'doctor',
];

it.each(commands.flatMap((command) => [command, `${command} --json`]))(
  'prints nothing that is obeyed or unseen: %s [verifies hostile.leak.visible]',
  async (command) => {
    const argv = command.replace('RUN', ids.run).replace('SESSION', ids.session).replace('APPROVAL', ids.approval).split(' ');
    const { out, err } = await runCli(argv, { env: { NEXUS_URL: platform.url, FORCE_COLOR: '1' } });
    expect(out + err).not.toBe('');
    expect(withoutStyles(out + err)).not.toMatch(unseen);
    if (command.endsWith('--json') && !command.startsWith('runs watch') && !command.startsWith('runs events'))
      expect(() => JSON.parse(out)).not.toThrow();
  },
);

it('shows who approves the end of what is asked for, however many blanks are before it [verifies hostile.leak.visible]', async () => {
  const env = { NEXUS_URL: platform.url };
  const { out } = await runCli(['approvals', 'show', ids.approval], { env });
  expect(out).toContain('"ok [5000 blanks] ; rm -rf x\\u001b[2J');
  expect(out).toContain('\\u202e');
});

it('prints what a person typed and an error repeats as it is seen [verifies hostile.leak.visible]', async () => {
  for (const argv of [
    ['runs', 'show', evil],
    [evil],
    ['--config', evil, 'runs', 'list'],
    ['runs', 'list', `--status=${evil}`],
    ['files', 'get', evil, evil],
  ]) {
    const { out, err } = await runCli(argv, { env: { NEXUS_URL: platform.url } });
    expect(out + err).not.toBe('');
    expect(out + err).not.toMatch(unseen);
  }
});

it('makes codes of its own styles only, and keeps a row of a table a row [verifies hostile.leak.visible]', () => {
  const style = createStyle({ isTty: true }, {});
  const print = createPrintable();
  expect(print(style('red', 'a'))).toBe('\u001b[31ma\u001b[39m');
  expect(print(`\u001b[31m${style('bold', '\u001b[2J')}`)).toBe('\\u001b[31m\u001b[1m\\u001b[2J\u001b[22m');
  expect(table(['A', 'B'], [['x\nFORGED  y', 'z']], (_, text) => text).split('\n')).toHaveLength(2);
});

it('a long question is shown to its end before it is answered, and a short one once', async () => {
  const ask = (question: string) =>
    runCli(['chat', '--agent', 'plain'], {
      env: { NEXUS_URL: platform.url },
      typed: [`[[sim tools=ask_human(question=${JSON.stringify(question)})]] [[sim say="{{result}}"]]`, 'fine'],
    });
  const whole = /^ {4}Your name\?.*agree to pay\.$/m;
  expect((await ask(`Your name?${' x'.repeat(600)} And you agree to pay.`)).err).toMatch(whole);
  expect((await ask('Your name? And you agree to pay.')).err).not.toMatch(whole);
});
