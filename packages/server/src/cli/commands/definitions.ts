import type { DefinitionFolderState, DefinitionKind, DefinitionOverview, DefinitionSet } from '@nexus-agent/protocol';
import { Argument } from 'commander';
import { type CliContext, withClient } from '../context.ts';
import { table } from '../style.ts';
import type { Registrar } from './command.ts';

export function definitionCommands({ program, action }: Registrar): void {
  const definitions = program.command('definitions').description('policies and agents of the operator, on all nodes');
  definitions
    .command('show', { isDefault: true })
    .description('show what is active, what the folders hold, and which nodes follow')
    .action(action(show));
  definitions
    .command('import')
    .description("make what lies in the server's folder the active version, also if it was active before")
    .addArgument(new Argument('<kind>', 'what to import').choices(['policies', 'agents']))
    .option('--allow-empty', 'also a folder that holds nothing')
    .action(action(importFolder));
}

async function show(context: CliContext): Promise<undefined> {
  const found = await withClient(context, (client) => client.definitions.get());
  context.print(found, () => `${describe(found.policies)}\n${describe(found.agents)}\n${nodes(context, found)}`);
}

async function importFolder(context: CliContext, { allowEmpty = false }: { allowEmpty?: boolean }, kind = ''): Promise<undefined> {
  // commander has let no other kind through
  const set = await withClient(context, (client) => client.definitions.import(kind as DefinitionKind, { allowEmpty }));
  context.print(set, () => describe(set));
}

const holds: ReadonlyMap<DefinitionFolderState, string> = new Map([
  ['active', 'holds the active version'],
  ['earlier', 'holds an earlier version'],
  ['never-imported', 'holds files that were never imported'],
  ['none', 'holds nothing'],
  ['broken', 'cannot be used'],
]);

function describe({ kind, active, inUse, policyVersion, fault, folder }: DefinitionSet): string {
  const lines = [
    active === null ? `${kind}: none imported` : `${kind}: version ${active.version}, imported ${active.importedAt} from ${active.origin}`,
    ...(inUse === (active?.version ?? null)
      ? []
      : [`  this node decides by ${inUse === null ? 'none' : `version ${inUse}`}: ${fault ?? 'it is about to follow'}`]),
    ...(policyVersion === undefined ? [] : [`  decisions name it ${policyVersion}`]),
    `  ${folder.path} ${holds.get(folder.state) ?? ''}${folder.state === 'earlier' ? `, ${folder.version}` : ''}${folder.fault === undefined ? '' : `: ${folder.fault}`}`,
    ...folder.unread.map(({ name, why }) => `  not read: ${name} (${why})`),
  ];
  return lines.join('\n');
}

function nodes(context: CliContext, { nodes: rows }: DefinitionOverview): string {
  const cell = ({ inUse, folder }: DefinitionOverview['nodes'][number]['policies']) => `${inUse ?? '-'} (folder: ${folder})`;
  const lines = rows.map((row) => [`${row.name}${row.self ? ' *' : ''}`, cell(row.policies), cell(row.agents), row.keySecret, row.seenAt]);
  return table(['NODE', 'POLICIES', 'AGENTS', 'KEY SECRET', 'SEEN'], lines, context.out);
}
