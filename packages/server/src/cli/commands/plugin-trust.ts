import type { PluginKey } from '@nexus-agent/protocol';
import type { NexusClient } from '@nexus-agent/sdk';
import type { Command } from 'commander';
import { type CliContext, withClient } from '../context.ts';
import { UsageError } from '../exit-codes.ts';
import { brief } from '../style.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

/** Whose plugins a tenant trusts. */
export function trustCommands(plugins: Command, { action }: Registrar): void {
  const trust = plugins.command('trust').description('the keys whose plugins are taken without more ado');
  withPages(trust.command('list', { isDefault: true }).description("list them, the operator's first")).action(action(list));
  trust
    .command('add')
    .description('trust a key; several keys may have one name')
    .argument('<key>', 'a public key as nexus plugin keygen prints it')
    .requiredOption('--name <name>', 'whose it is')
    .action(action(add));
  trust
    .command('revoke')
    .description('refuse all that a key signed, also what is installed and what the operator trusts')
    .argument('<key>', 'a public key, or the fingerprint of one that is listed')
    .option('--name <name>', 'whose it is, where it is not listed')
    .action(action(revoke));
  trust
    .command('remove')
    .description('forget a key; what was installed for its signature is refused from then on')
    .argument('<key>', 'a public key, or the fingerprint of one that is listed')
    .action(action(remove));
}

const publicKeyText = /^[A-Za-z0-9+/]{43}=$/;

async function list(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.plugins.keys.list(pageFlags(options)));
  printPage(context, page, ['NAME', 'STATE', 'FINGERPRINT', 'KEY', 'OF', 'ADDED BY', 'ADDED'], (key) => [
    brief(key.name, 30),
    key.state,
    key.fingerprint,
    key.publicKey,
    key.origin,
    brief(key.addedBy ?? '-', 30),
    key.addedAt ?? '-',
  ]);
}

async function add(context: CliContext, { name }: { name: string }, publicKey = ''): Promise<undefined> {
  if (!publicKeyText.test(publicKey)) throw new UsageError('expected a public key as nexus plugin keygen prints it');
  const key = await withClient(context, (client) => client.plugins.keys.put({ publicKey, name }));
  context.print(key, () => `${brief(key.name, 100)} is trusted (${key.fingerprint})`);
}

async function revoke(context: CliContext, { name }: { name?: string }, text = ''): Promise<undefined> {
  const key = await withClient(context, async (client) => {
    const known = await find(client, text);
    if (known === undefined && !publicKeyText.test(text))
      throw new UsageError(`no key ${JSON.stringify(text)} is listed; give the whole public key`);
    return client.plugins.keys.put({ publicKey: known?.publicKey ?? text, name: name ?? known?.name ?? 'revoked', state: 'revoked' });
  });
  context.print(key, () => `${brief(key.name, 100)} is revoked (${key.fingerprint})`);
}

async function remove(context: CliContext, _options: object, text = ''): Promise<undefined> {
  const fingerprint = await withClient(context, async (client) => {
    const found = (await find(client, text))?.fingerprint ?? text;
    if (publicKeyText.test(found)) throw new UsageError('no such key is listed');
    await client.plugins.keys.remove(found);
    return found;
  });
  context.print({ fingerprint, removed: true }, () => `${fingerprint} is forgotten`);
}

/** One that is listed, what the tenant itself says of it before what the operator does. */
async function find(client: NexusClient, text: string): Promise<PluginKey | undefined> {
  let found: PluginKey | undefined;
  for (let cursor: string | undefined; ; ) {
    const page = await client.plugins.keys.list({ limit: 200, ...(cursor === undefined ? {} : { cursor }) });
    for (const key of page.data) {
      if (key.publicKey !== text && key.fingerprint !== text) continue;
      if (found === undefined || key.origin === 'tenant') found = key;
    }
    if (page.nextCursor === null) return found;
    cursor = page.nextCursor;
  }
}
