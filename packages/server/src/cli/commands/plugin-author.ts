import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { type CliContext, parseJsonOption } from '../context.ts';
import { exitCodeOf, exitCodes, UsageError } from '../exit-codes.ts';
import type { Registrar } from './command.ts';
import { readOptional, readPluginFolder } from './plugin-folder.ts';
import { isLanguage, languages, sourceOf } from './plugin-templates.ts';

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
    .description('run the build command of the manifest, and write the hashes of the modules into it')
    .argument('[folder]', 'the plugin', '.')
    .action(action(build));
  plugins
    .command('test')
    .description('run a tool of a plugin here, under its limits; what it writes is shown and not kept, and it fetches nothing')
    .argument('<folder>', 'the plugin')
    .argument('<tool>')
    .option('--input <json>', 'arguments', '{}')
    .option('--files <folder>', 'a folder in place of the files of a session')
    .action(action(test));
  plugins
    .command('keygen')
    .description('make a key to sign with; prints the public key, which others add to plugins.trustedKeys')
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
  const names = [...new Set([...manifest.tools.map(({ module }) => module), ...Object.keys(manifest.files)])].sort();
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

interface TestFlags {
  readonly input: string;
  readonly files?: string;
}

async function test(context: CliContext, { input, files }: TestFlags, folder = '', name = ''): Promise<number> {
  const [{ checkPackage, createPluginTools, createWasmSandbox, createWorkspaces, tryOutPlugin }, { systemClock, systemTimers }] =
    await Promise.all([import('#tools'), import('#core')]);
  const plugin = await checkPackage((await readPluginFolder(folder)).files);
  const workspaces = createWorkspaces();
  const sandbox = createWasmSandbox({ clock: systemClock, timers: systemTimers });
  try {
    await tryOutPlugin(plugin, { sandbox, others: [] });
    const modules = new Map(
      [...plugin.files].map(([file, bytes]) => [file, { sha256: plugin.manifest.files[file] ?? '', bytes }] as const),
    );
    const tool = createPluginTools(plugin.manifest, modules, { sandbox, workspaces, fetchTool: null }).find((one) => one.name === name);
    if (tool === undefined)
      throw new UsageError(
        `${plugin.manifest.name} has no tool ${name}; it has ${plugin.manifest.tools.map((one) => one.name).join(', ')}`,
      );
    const local = 'local';
    const result = await tool.execute(parseJsonOption(input, '--input'), {
      ...{
        tenantId: local,
        sessionId: local,
        runId: local,
        callId: local,
        attempt: 1,
        idempotencyKey: local,
        signal: new AbortController().signal,
      },
      workspace: files === undefined ? '' : resolve(files),
      files: {
        async write(path, content) {
          context.note(`would write ${content.length} bytes to ${path}`);
          return { created: true };
        },
        remove: async (path) => context.note(`would delete ${path}`),
        move: async (path, to) => context.note(`would move ${path} to ${to}`),
      },
      authorize: async () => ({ allowed: true, always: true }),
      onOutput: (text) => context.note(text.trimEnd()),
      onWait: () => undefined,
    });
    if (result.type === 'ok') {
      context.print(result.output, () => JSON.stringify(result.output, null, 2));
      return exitCodes.ok;
    }
    if (result.type === 'suspended') throw new TypeError('a plugin calls no tools');
    context.note(`${context.err('red', 'error:')} ${result.error.message} (${result.error.code})`);
    return exitCodeOf(result.error.code);
  } finally {
    await sandbox.close();
  }
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
