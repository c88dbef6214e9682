import type { Plugin, PluginChange } from '@nexus-agent/protocol';
import { type CliContext, withClient } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import { brief } from '../style.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';
import { authorCommands } from './plugin-author.ts';
import { readPackage } from './plugin-folder.ts';
import { trustCommands } from './plugin-trust.ts';

export function pluginCommands(registrar: Registrar): void {
  const { program, action } = registrar;
  const plugins = program
    .command('plugins')
    .alias('plugin')
    .description('plugins: tools that are WebAssembly modules, or programs in jails');
  withPages(plugins.command('list', { isDefault: true }).description('list what is installed')).action(action(list));
  plugins
    .command('install')
    .description('show what a plugin asks for, and install it once that is accepted')
    .argument('<plugin>', 'its folder, a .tgz as npm pack makes it, or npm:name[@version]')
    .option('--accept', 'accept what it asks for without being asked')
    .option('--allow-unsigned', 'also one that is signed by nobody who is trusted (nexus plugin trust list)')
    .option('--allow-downgrade', 'also in the place of a newer version')
    .action(action(install));
  plugins.command('remove').description('remove a plugin; calls that run end as they began').argument('<plugin>').action(action(remove));
  trustCommands(plugins, registrar);
  authorCommands(plugins, registrar);
}

async function list(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.plugins.list(pageFlags(options)));
  const head = ['NAME', 'VERSION', 'TIER', 'TRUST', 'SIGNER', 'SIZE', 'TOOLS', 'PERMISSIONS', 'INSTALLED'];
  printPage(context, page, head, (plugin) => [
    plugin.name,
    brief(plugin.version, 20),
    plugin.tier,
    plugin.refused === null ? plugin.trust : `${plugin.trust}, refused`,
    brief(plugin.signer ?? plugin.signedBy?.slice(0, 12) ?? '-', 20),
    shownSize(plugin),
    brief(plugin.tools.map(({ name }) => name).join(' '), 40),
    brief(permissionsOf(plugin).join(' '), 40),
    plugin.installedAt ?? '-',
  ]);
  for (const { name, refused } of page.data)
    if (refused !== null) context.note(`${context.err('yellow', 'refused:')} ${name}: ${brief(refused, 300)}`);
}

interface InstallFlags {
  readonly accept?: boolean;
  readonly allowUnsigned?: boolean;
  readonly allowDowngrade?: boolean;
}

async function install(
  context: CliContext,
  { accept = false, allowUnsigned = false, allowDowngrade = false }: InstallFlags,
  path = '',
): Promise<number> {
  const packed = Buffer.from(await readPackage(context, path)).toString('base64');
  return withClient(context, async (client) => {
    const request = { package: packed, allowUnsigned, allowDowngrade };
    const shown = await client.plugins.put(request);
    context.note(describe(shown));
    if (!accept && !(await isAccepted(context))) return exitCodes.failure;
    const replaces = shown.replaces === undefined ? {} : { replaces: shown.replaces.digest };
    const plugin = await client.plugins.put({ ...request, ...replaces, accept: shown.digest });
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

/** All of it, with what is unseen written out: it is what models are told, and what somebody hides stands at its end. */
const maxToldChars = 40_000;

function describe(plugin: Plugin): string {
  const { name, version, tier, program, tools, replaces } = plugin;
  const lines = tools.map(({ name: tool, effects, permissions, description }) => {
    const asks = permissions.length === 0 ? 'nothing but its arguments' : permissions.join(', ');
    return `  ${brief(tool, 64)} (effects: ${effects}) uses ${asks}: ${brief(description, maxToldChars)}`;
  });
  const runs = program === null ? [] : [`  runs ${brief([program.command, ...program.args].join(' '), 100)} in a jail without network`];
  const about = `${name} ${brief(version, 64)}, ${tier}, ${shownSize(plugin)}, ${signatureOf(plugin)}, ${plugin.digest.slice(0, 12)}`;
  return [about, ...runs, ...lines, ...(replaces === undefined ? [] : differences(replaces, version))].join('\n');
}

function differences({ version, isNewer, changes }: NonNullable<Plugin['replaces']>, next: string): string[] {
  const how = isNewer ? `, which is newer than ${brief(next, 64)}` : '';
  const more = changes.some(({ asksMore }) => asksMore) ? '! marks what it could not do before' : 'it asks for nothing more than before';
  return [`in the place of ${brief(version, 64)}${how} (${more}):`, ...changes.map(changed)];
}

function changed({ tool, what, before, after, asksMore }: PluginChange): string {
  const value = (text: string | null) => (text === null || text === '' ? 'nothing' : brief(text, maxToldChars));
  const about =
    tool === null ? what : what === 'added' || what === 'removed' ? `${what} ${brief(tool, 64)}` : `${brief(tool, 64)}: ${what}`;
  return `  ${asksMore ? '!' : '~'} ${about}: ${value(before)} -> ${value(after)}`;
}

function signatureOf({ signedBy, signer, trust }: Plugin): string {
  if (signedBy === null) return 'not signed';
  if (trust === 'trusted') return `signed by a trusted key${signer === null ? '' : ` (${brief(signer, 40)})`}`;
  return `signed by ${signedBy}, which ${trust === 'revoked' ? 'was revoked' : 'is not trusted'}`;
}

function shownSize({ sizeBytes }: Plugin): string {
  return sizeBytes < 1024 * 1024 ? `${Math.ceil(sizeBytes / 1024)} KiB` : `${(sizeBytes / 1024 / 1024).toFixed(1)} MiB`;
}

function permissionsOf({ tools }: Plugin): string[] {
  return [...new Set(tools.flatMap(({ permissions }) => permissions))];
}

async function remove(context: CliContext, _options: object, name = ''): Promise<undefined> {
  await withClient(context, (client) => client.plugins.remove(name));
  context.print({ name, removed: true }, () => `${name} is removed`);
}
