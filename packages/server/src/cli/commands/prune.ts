import type { RetentionRow } from '@nexus-agent/protocol';
import { type CliContext, loadConfig, withClient } from '../context.ts';
import type { Registrar } from './command.ts';
import { printPage } from './lists.ts';

export function pruneCommand({ program, action }: Registrar): void {
  program
    .command('prune')
    .description('delete what is older than it is kept (retention.* of the configuration of the server) now')
    .option('--dry-run', 'say what would go, and delete nothing')
    .action(action(prune));
}

async function prune(context: CliContext, { dryRun = false }: { dryRun?: boolean }): Promise<undefined> {
  const page = await withClient(context, (client) => (dryRun ? client.retention.preview() : client.retention.prune()));
  const heads = dryRun ? ['KIND', 'KEPT', 'WOULD GO', 'OLDEST'] : ['KIND', 'KEPT', 'DELETED', 'LEFT'];
  printPage(context, page, heads, (row: RetentionRow) => [
    row.kind,
    row.keepDays === 0 ? 'for ever' : row.keepDays === 1 ? '1 day' : `${row.keepDays} days`,
    `${row.count}${dryRun && row.more ? ' or more' : ''}`,
    dryRun ? (row.oldest ?? '') : row.more ? 'some' : '',
  ]);
  const differing = await notAsConfigured(context, page.data);
  if (differing.length > 0)
    context.note(
      context.err(
        'dim',
        `the server goes by its own configuration, in which ${differing.join(', ')} differ; --embedded goes by the one here`,
      ),
    );
}

/** Kinds that the configuration named here would keep for another time than the server that was asked. */
async function notAsConfigured(context: CliContext, rows: readonly RetentionRow[]): Promise<string[]> {
  if (context.options.config === undefined && (context.io.env.NEXUS_CONFIG ?? '') === '') return [];
  const { retention } = await loadConfig(context);
  return rows.flatMap(({ kind, keepDays }) => {
    const setting = Object.hasOwn(settingOf, kind) ? settingOf[kind] : null; // a newer server keeps kinds that are not known here
    return setting === null || keepDays === retention[setting] ? [] : [`retention.${setting}`];
  });
}

const settingOf = {
  sessions: 'sessionsDays',
  decisions: 'decisionsDays',
  idempotencyKeys: 'idempotencyDays',
  reservations: 'reservationsDays',
  ledgerEntries: 'ledgerDays',
  idleBalances: 'balancesDays',
  contents: 'contentsDays',
} as const satisfies Record<RetentionRow['kind'], string>;
