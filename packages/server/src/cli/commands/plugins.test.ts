import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { runCli } from '../cli.testkit.ts';

const folder = mkdtempSync(join(tmpdir(), 'nexus-plugin-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const example = join(folder, 'text-stats');
cpSync(fileURLToPath(new URL('../../../../../examples/plugins/text-stats', import.meta.url)), example, { recursive: true });
const nexus = (...argv: string[]) => runCli(['plugin', ...argv]);

it('makes a folder to begin with, once, in each language', async () => {
  for (const language of ['c', 'rust', 'tinygo']) {
    const made = join(folder, `My ${language}`);
    expect(await nexus('new', made, '--language', language)).toMatchObject({ code: 0 });
    expect(readFileSync(join(made, 'plugin.yaml'), 'utf8')).toMatch(new RegExp(`^name: my-${language}\n`));
    expect(await nexus('new', made)).toMatchObject({ code: 2, err: expect.stringMatching(/is there already/) });
  }
});

it('builds: runs the command and writes the hashes, so that a signature of before is gone', async () => {
  const manifest = join(example, 'plugin.yaml');
  const text = readFileSync(manifest, 'utf8');
  const withBuild = (command: string) => writeFileSync(manifest, text.replace(/^build: .*$/m, `build: ${command}`));
  withBuild("[node, -e, \"fs.appendFileSync('built', '1')\"]");
  expect(await nexus('keygen', join(folder, 'key.pem'))).toMatchObject({ code: 0, out: expect.stringMatching(/^[A-Za-z0-9+/]{43}=\n$/) });
  expect(await nexus('keygen', join(folder, 'key.pem'))).toMatchObject({ code: 2, err: expect.stringMatching(/never replaced/) });
  expect(await nexus('sign', example)).toMatchObject({ code: 2, err: expect.stringMatching(/say --key FILE.*nexus plugin keygen FILE/) });
  expect(await nexus('sign', example, '--key', 'none.pem')).toMatchObject({
    code: 2,
    err: expect.stringMatching(/there is no key none\.pem; make one with: nexus plugin keygen none\.pem/),
  });
  expect(await nexus('sign', example, '--key', join(folder, 'key.pem'))).toMatchObject({ code: 0 });
  expect(await nexus('build', example)).toMatchObject({ code: 0 });
  expect(readFileSync(join(example, 'built'), 'utf8')).toBe('1');
  const module = join(example, 'text-stats.wasm');
  const bytes = readFileSync(module);
  writeFileSync(module, Buffer.concat([bytes, Buffer.from([0, 2, 1, 0x61])])); // a section that means nothing
  expect(await nexus('test', example, 'text_stats')).toMatchObject({ code: 1, err: expect.stringMatching(/the manifest says/) });
  expect(await nexus('build', example)).toMatchObject({ code: 0 });
  expect(() => readFileSync(join(example, 'plugin.sig'))).toThrow();
  withBuild('[no-such-compiler]');
  expect(await nexus('build', example)).toMatchObject({ code: 2, err: expect.stringMatching(/no-such-compiler cannot be run/) });
  withBuild('[node, -e, "process.exit(3)"]');
  expect(await nexus('build', example)).toMatchObject({ code: 2, err: expect.stringMatching(/ended with code 3/) });
  writeFileSync(manifest, text);
  writeFileSync(module, bytes);
});

it('tries a tool without a server', async () => {
  expect(await nexus('test', example, 'text_stats', '--input', '{"text":"a b"}')).toMatchObject({
    code: 0,
    out: expect.stringMatching(/"words": 2/),
  });
  expect(await nexus('test', example, 'stats_of_file', '--input', '{"path":"text-stats.c"}', '--files', example)).toMatchObject({
    code: 0,
  });
  expect(await nexus('test', example, 'text_stats')).toMatchObject({
    ...{ code: 1, err: expect.stringMatching(/arguments of text_stats do not fit: .*text.*\(tool_input_invalid\)/) },
  });
  expect(await nexus('test', example, 'nope')).toMatchObject({ code: 2, err: expect.stringMatching(/has no tool nope/) });
  expect(await nexus('test', folder, 'nope')).toMatchObject({ code: 2, err: expect.stringMatching(/there is no plugin.yaml/) });
});

it('tries a tool as a server runs it: its arguments and its output are held against its schemas [verifies plugins.author]', async () => {
  const strict = join(folder, 'strict');
  cpSync(fileURLToPath(new URL('../../../../../examples/plugins/text-stats', import.meta.url)), strict, { recursive: true });
  const manifest = join(strict, 'plugin.yaml');
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('words: { type: integer }', 'words: { type: string }'));
  const test = (input: object) => nexus('test', strict, 'text_stats', '--input', JSON.stringify(input));
  expect(await test({ text: 'a', more: 1 })).toMatchObject({
    ...{ out: '', err: expect.stringMatching(/arguments of text_stats do not fit: at "more"/) },
  });
  expect(await test({ text: 'a' })).toMatchObject({ out: '', err: expect.stringMatching(/does not fit its own schema.*words/) });
});
