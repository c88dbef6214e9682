import type { Key, KeyScope } from '@nexus-agent/protocol';
import { InvalidArgumentError, Option } from 'commander';
import { type CliContext, withClient } from '../context.ts';
import { brief } from '../style.ts';
import { type Registrar, tenantOf, tenantOption, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function keyCommands({ program, action }: Registrar): void {
  const key = program.command('keys').description('API keys');
  withPages(key.command('list', { isDefault: true }).description('list keys'))
    .addOption(tenantOption())
    .action(action(list));
  key
    .command('create')
    .description('create a key; its secret is shown this once')
    .requiredOption('--name <name>', 'what it is for')
    .addOption(new Option('--scope <scope...>', 'what it may do').choices(['runs', 'approvals', 'admin', 'tools']))
    .option('--role <role...>', 'what its holder may answer for, such as lead')
    .addOption(tenantOption())
    .option('--expires <time>', 'when it ends, such as 2027-01-31T12:00:00Z; default: never', moment)
    .action(action(create));
  key.command('revoke').description('revoke a key at once').argument('<key>').action(action(revoke));
}

/** A moment with its zone, as the API takes it. */
function moment(text: string): string {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/i.test(text) || Number.isNaN(Date.parse(text)))
    throw new InvalidArgumentError(`expected a day, a time and a zone, such as 2027-01-31T12:00:00Z or 2027-01-31T12:00:00+01:00.`);
  return new Date(text).toISOString();
}

async function list(context: CliContext, options: PageFlags & { tenant?: string }): Promise<undefined> {
  const page = await withClient(context, (client) => client.keys.list({ ...pageFlags(options), ...tenantOf(options) }));
  printPage(context, page, ['ID', 'NAME', 'SCOPES', 'ROLES', 'STATE', 'CREATED'], (key) => [
    key.id,
    brief(key.name, 40),
    key.scopes.join(' '),
    brief(key.roles.join(' '), 40),
    stateOf(key),
    key.createdAt,
  ]);
}

function stateOf({ revokedAt, expiresAt }: Key): string {
  if (revokedAt !== undefined) return 'revoked';
  if (expiresAt === undefined) return 'active';
  return Date.parse(expiresAt) > Date.now() ? `until ${expiresAt}` : 'expired';
}

async function create(
  context: CliContext,
  options: { name: string; scope?: KeyScope[]; role?: string[]; tenant?: string; expires?: string },
): Promise<undefined> {
  const key = await withClient(context, (client) =>
    client.keys.create({
      name: options.name,
      ...(options.scope === undefined ? {} : { scopes: options.scope }),
      ...(options.role === undefined ? {} : { roles: options.role }),
      ...tenantOf(options),
      ...(options.expires === undefined ? {} : { expiresAt: options.expires }),
    }),
  );
  context.print(key, () => key.secret ?? '');
  const facts = [key.id, `tenant ${key.tenant}`, key.scopes.join(', '), `as ${key.roles.join(', ')}`, 'the secret is not shown again'];
  context.note(context.err('dim', facts.join(' · ')));
}

async function revoke(context: CliContext, _options: object, id = ''): Promise<undefined> {
  await withClient(context, (client) => client.keys.revoke(id));
  context.print({ id, revoked: true }, () => `${id} is revoked`);
}
