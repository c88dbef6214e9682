import type { Plugin } from '@nexus-agent/protocol';
import { type CliContext, withClient } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import { brief } from '../style.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';
import { authorCommands } from './plugin-author.ts';
import { readPackage } from './plugin-folder.ts';

export function pluginCommands(registrar: Registrar): void {
  const { program, action } = registrar;
  const plugins = program.command('plugins').alias('plugin').description('plugins: tools that are WebAssembly modules');
  withPages(plugins.command('list', { isDefault: true }).description('list what is installed')).action(action(list));
  plugins
    .command('install')
    .description('show what a plugin asks for, and install it once that is accepted')
    .argument('<plugin>', 'its folder, or a .tgz as npm pack makes it')
    .option('--accept', 'accept what it asks for without being asked')
    .option('--allow-unsigned', 'also one that is signed by nobody who is trusted (plugins.trustedKeys)')
    .action(action(install));
  plugins.command('remove').description('remove a plugin; calls that run end as they began').argument('<plugin>').action(action(remove));
  authorCommands(plugins, registrar);
}

async function list(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.plugins.list(pageFlags(options)));
  printPage(context, page, ['NAME', 'VERSION', 'SIGNED', 'TOOLS', 'PERMISSIONS', 'INSTALLED'], (plugin) => [
    plugin.name,
    brief(plugin.version, 20),
    signatureOf(plugin),
    brief(plugin.tools.map(({ name }) => name).join(' '), 40),
    brief(permissionsOf(plugin).join(' '), 40),
    plugin.installedAt ?? '-',
  ]);
}

interface InstallFlags {
  readonly accept?: boolean;
  readonly allowUnsigned?: boolean;
}

async function install(context: CliContext, { accept = false, allowUnsigned = false }: InstallFlags, path = ''): Promise<number> {
  const packed = Buffer.from(await readPackage(path)).toString('base64');
  return withClient(context, async (client) => {
    const shown = await client.plugins.put({ package: packed, allowUnsigned });
    context.note(describe(shown));
    if (!accept && !(await isAccepted(context))) return exitCodes.failure;
    const plugin = await client.plugins.put({ package: packed, accept: shown.digest, allowUnsigned });
    context.print(plugin, () => `${plugin.name} ${plugin.version} is installed`);
    return exitCodes.ok;
  });
}

async function isAccepted(context: CliContext): Promise<boolean> {
  if (context.io.stdin.isTTY !== true) throw new UsageError('nobody is here to accept that; give --accept');
  const { createAsker } = await import('../ask-approval.ts');
  const asker = createAsker(context.io);
  try {
    const answer = await asker.ask('install it? [y/N] ');
    return /^y(es)?$/i.test(answer?.trim() ?? '');
  } finally {
    asker.close();
  }
}

function describe(plugin: Plugin): string {
  const lines = plugin.tools.map(({ name, effects, permissions, description }) => {
    const asks = permissions.length === 0 ? 'nothing but its arguments' : permissions.join(', ');
    return `  ${brief(name, 64)} (effects: ${effects}) uses ${asks}: ${brief(description, 80)}`;
  });
  return [`${plugin.name} ${brief(plugin.version, 64)}, ${signatureOf(plugin)}, ${plugin.digest.slice(0, 12)}`, ...lines].join('\n');
}

function signatureOf({ signedBy, trusted }: Plugin): string {
  if (signedBy === null) return 'not signed';
  return trusted ? 'signed by a trusted key' : `signed by ${signedBy}, which is not trusted`;
}

function permissionsOf({ tools }: Plugin): string[] {
  return [...new Set(tools.flatMap(({ permissions }) => permissions))];
}

async function remove(context: CliContext, _options: object, name = ''): Promise<undefined> {
  await withClient(context, (client) => client.plugins.remove(name));
  context.print({ name, removed: true }, () => `${name} is removed`);
}
