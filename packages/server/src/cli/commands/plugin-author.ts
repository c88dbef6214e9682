import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { PluginManifest } from '#tools';
import type { CliContext } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import type { Registrar } from './command.ts';
import { readOptional, readPluginFolder } from './plugin-folder.ts';
import { isLanguage, languages, sourceOf } from './plugin-templates.ts';
import { tryTool } from './plugin-test.ts';

/** What authors of plugins do, without a server. */
export function authorCommands(plugins: Command, { action }: Registrar): void {
  plugins
    .command('new')
    .description('make a folder to begin a plugin in')
    .argument('<folder>')
    .addOption(new Option('--language <language>', 'what it is written in').choices(languages).default('c'))
    .action(action(create));
  plugins
    .command('build')
    .description('run the build command of the manifest, and write the hashes of the files into it')
    .argument('[folder]', 'the plugin', '.')
    .action(action(build));
  plugins
    .command('test')
    .description(
      'run a tool of a plugin here, under its limits; what it writes is shown and not kept, and it fetches nothing. A program is jailed, and must list what its manifest says',
    )
    .argument('<folder>', 'the plugin')
    .argument('<tool>')
    .option('--input <json>', 'arguments', '{}')
    .option('--files <folder>', 'a folder in place of the files of a session')
    .action(action(tryTool));
  plugins
    .command('keygen')
    .description('make a key to sign with; prints the public key, which others trust (nexus plugin trust add, plugins.trustedKeys)')
    .argument('<file>')
    .action(action(keygen));
  plugins
    .command('sign')
    .description('sign a plugin that is built')
    .argument('<folder>', 'the plugin')
    .option('--key <file>', 'a key of nexus plugin keygen; needed')
    .action(action(sign));
}

async function create(context: CliContext, { language }: { language: string }, folder = ''): Promise<undefined> {
  if (!isLanguage(language)) throw new UsageError(`there is no language ${language}; there are ${languages.join(', ')}`);
  const { manifestName } = await import('#tools');
  if (existsSync(join(folder, manifestName))) throw new UsageError(`${join(folder, manifestName)} is there already`);
  const name = basename(resolve(folder))
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, '-');
  await mkdir(folder, { recursive: true });
  const files = sourceOf(language, name);
  for (const [file, text] of Object.entries({ ...files.sources, [manifestName]: files.manifest }))
    await writeFile(join(folder, file), text, { flag: 'wx' });
  context.print({ name, folder }, () => `${folder} holds the plugin ${name}; next: nexus plugin build ${folder}`);
}

async function build(context: CliContext, _options: object, folder = '.'): Promise<number> {
  const { manifestName, parseManifest, sha256OfBytes, signatureName } = await import('#tools');
  const path = join(folder, manifestName);
  const text = await readOptional(path);
  if (text === null) throw new UsageError(`there is no ${path}; make one with nexus plugin new`);
  const manifest = await parseManifest(text.toString('utf8'));
  const [command, ...parameters] = manifest.build ?? [];
  if (command !== undefined) {
    context.note(context.err('dim', [command, ...parameters].join(' ')));
    const child = spawn(command, parameters, { cwd: folder, stdio: ['ignore', 2, 2] });
    const [code] = await once(child, 'close').catch((error: unknown) => {
      throw new UsageError(
        `${command} cannot be run (${error instanceof Error ? error.message : String(error)}); install it, or change build in ${path}`,
      );
    });
    if (code !== 0) throw new UsageError(`${command} ended with code ${String(code)}`);
  }
  const { parseDocument } = await import('yaml');
  const document = parseDocument(text.toString('utf8'));
  const names = await filesOf(folder, manifest);
  const found = new Map<string, string>();
  for (const name of names) {
    const content = await readOptional(join(folder, name));
    if (content === null) throw new UsageError(`the build made no ${join(folder, name)}, which ${manifestName} names`);
    found.set(name, sha256OfBytes(content));
  }
  const hashes = Object.fromEntries(found);
  document.set('files', hashes);
  const written = document.toString({ lineWidth: 0 });
  if (written !== text.toString('utf8')) await writeFile(path, written);
  // It would not hold any more, where anything changed.
  if (JSON.stringify(hashes) !== JSON.stringify(manifest.files)) await rm(join(folder, signatureName), { force: true });
  context.print({ name: manifest.name, files: hashes }, () =>
    Object.entries(hashes)
      .map(([name, hash]) => `${hash}  ${name}`)
      .join('\n'),
  );
  return exitCodes.ok;
}

/** What belongs to a plugin: its modules, its program and the files that this is given, and what the author says besides. */
async function filesOf(folder: string, { tools, server, include = [], files }: PluginManifest): Promise<string[]> {
  const names = new Set([...tools.flatMap(({ module }) => module ?? []), ...include]);
  if (server?.command.startsWith('./') === true) names.add(server.command.slice(2));
  for (const argument of server?.args ?? []) {
    const name = argument.replace(/^\.\//, '');
    if (isFileName(name) && (await readOptional(join(folder, name))) !== null) names.add(name);
  }
  // Of a program only what it is given now: what was a part of it once would go on to be one.
  for (const name of server === undefined ? Object.keys(files) : []) names.add(name);
  return [...names].sort();
}

function isFileName(text: string): boolean {
  return /^(?!\.)[\w.-]+(\/(?!\.)[\w.-]+)*$/.test(text);
}

async function keygen(context: CliContext, _options: object, file = ''): Promise<undefined> {
  const { createSigningKey } = await import('#tools');
  const { privateKey, publicKey } = createSigningKey();
  await writeFile(file, privateKey, { mode: 0o600, flag: 'wx' }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST')
      throw new UsageError(`${file} is there already; a key is never replaced`);
    throw error;
  });
  context.print({ file, publicKey }, () => publicKey);
  context.note(context.err('dim', `${file} holds the private key; keep it to yourself`));
}

async function sign(context: CliContext, { key }: { key?: string }, folder = ''): Promise<undefined> {
  const privateKey = await readKey(key);
  const { checkPackage, signatureName, signManifest } = await import('#tools');
  const { files } = await readPluginFolder(folder);
  // Without the signature that it may have: another takes its place.
  const plugin = await checkPackage(new Map([...files].filter(([name]) => name !== signatureName)));
  const { text, publicKey } = signManifest(plugin.manifest, privateKey);
  await writeFile(join(folder, signatureName), text);
  context.print(
    { name: plugin.manifest.name, digest: plugin.digest, publicKey },
    () => `${plugin.manifest.name} ${plugin.manifest.version} is signed by ${publicKey}`,
  );
}

async function readKey(file: string | undefined): Promise<string> {
  if (file === undefined) throw new UsageError('say --key FILE: a key to sign with; nexus plugin keygen FILE makes one');
  return readFile(file, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      throw new UsageError(`there is no key ${file}; make one with: nexus plugin keygen ${file}`);
    throw error;
  });
}
