import type { UsageBy, UsageRow } from '@nexus-agent/protocol';
import { type Command, Option } from 'commander';
import { type CliContext, withClient } from '../context.ts';
import { brief, usd } from '../style.ts';
import { type Registrar, wholeNumber, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function usageCommand({ program, action }: Registrar): void {
  withUsage(program.command('usage').description('what was spent, by day, user, agent, model or project')).action(action(usage));
  const budgets = program.commands.find((command) => command.name() === 'budgets');
  if (budgets) withUsage(budgets.command('usage').description('what was spent; the same as `nexus usage`')).action(action(usage));
}

const ways = ['day', 'user', 'agent', 'model', 'project'] satisfies UsageBy[];

function withUsage(command: Command): Command {
  return withPages(command)
    .addOption(new Option('--by <what>', 'what it is summed by').choices(ways).default('day'))
    .option('--from <day>', 'first day (UTC), such as 2026-11-01')
    .option('--to <day>', 'last day; default: today')
    .option('--days <days>', 'how many days up to the last one; default: 30', wholeNumber);
}

interface UsageFlags extends PageFlags {
  readonly by: UsageBy;
  readonly from?: string;
  readonly to?: string;
  readonly days?: number;
}

/** So wide that the table fits 80 columns with amounts of twelve digits. */
const nameWidth = 30;

async function usage(context: CliContext, { by, from, to, days, ...page }: UsageFlags): Promise<undefined> {
  const filter = {
    by,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(days === undefined ? {} : { days }),
    ...pageFlags(page),
  };
  const sums = await withClient(context, (client) => client.usage(filter));
  printPage(context, sums, [by.toUpperCase(), 'COST', 'TOKENS', 'TOOL CALLS'], (row: UsageRow) => [
    brief(row[by] ?? (by === 'model' ? '(tool calls)' : '(none named)'), nameWidth),
    usd(row.costMicroUsd),
    String(row.tokens),
    String(row.toolCalls),
  ]);
}
