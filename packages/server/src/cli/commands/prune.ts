import type { RetentionRow } from '@nexus-agent/protocol';
import { type CliContext, withClient } from '../context.ts';
import type { Registrar } from './command.ts';
import { printPage } from './lists.ts';

export function pruneCommand({ program, action }: Registrar): void {
  program
    .command('prune')
    .description('delete what is older than it is kept (retention.* of the configuration) now')
    .option('--dry-run', 'say what would go, and delete nothing')
    .action(action(prune));
}

async function prune(context: CliContext, { dryRun = false }: { dryRun?: boolean }): Promise<undefined> {
  const page = await withClient(context, (client) => (dryRun ? client.retention.preview() : client.retention.prune()));
  const heads = dryRun ? ['KIND', 'KEPT', 'WOULD GO', 'OLDEST'] : ['KIND', 'KEPT', 'DELETED', 'LEFT'];
  printPage(context, page, heads, (row: RetentionRow) => [
    row.kind,
    row.keepDays === 0 ? 'for ever' : `${row.keepDays} days`,
    `${row.count}${dryRun && row.more ? ' or more' : ''}`,
    dryRun ? (row.oldest ?? '') : row.more ? 'some' : '',
  ]);
}
