import type { BudgetRow, BudgetScope, BudgetWindow } from '@nexus-agent/protocol';
import { Option } from 'commander';
import { type LimitUnit, limitOf, limitUnits } from '../amounts.ts';
import { type CliContext, withClient } from '../context.ts';
import { amount } from '../describe-event.ts';
import { UsageError } from '../exit-codes.ts';
import { brief, usd } from '../style.ts';
import { type Registrar, wholeNumber, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function budgetCommands({ program, action }: Registrar): void {
  const budget = program.command('budgets').description('limits and balances');
  withPages(budget.command('list', { isDefault: true }).description('list balances'))
    .option('--scope <kind:id>', 'only of this scope')
    .action(action(list));
  budget
    .command('set')
    .description('set a limit')
    .argument('<scope>', 'such as tenant:default or session:ses_…')
    .argument('<limit>', 'US dollars such as 25, $25 or 0.50; with another unit 200000 or 200k, 90s or 10m')
    .addOption(new Option('--unit <unit>', 'what is limited').choices(limitUnits).default('usd'))
    .addOption(new Option('--window <window>').choices(['total', 'day', 'month']).default('total'))
    .action(action(set));
  budget
    .command('usage')
    .description('what was spent, by day')
    .option('--days <days>', 'how many days', wholeNumber, 30)
    .action(action(usage));
}

async function list(context: CliContext, options: PageFlags & { scope?: string }): Promise<undefined> {
  const scope = options.scope === undefined ? {} : { scope: await scopeOf(options.scope) };
  const page = await withClient(context, (client) => client.budgets.list({ ...pageFlags(options), ...scope }));
  printPage(context, page, ['SCOPE', 'WINDOW', 'LIMIT', 'SPENT', 'RESERVED'], (row) => [
    `${row.scope.kind}:${brief(row.scope.id)}`,
    row.window === 'total' ? 'total' : `${row.window} ${row.period}`,
    limitText(row),
    amount(row.unit, row.spent),
    amount(row.unit, row.reserved),
  ]);
}

async function set(context: CliContext, options: { unit: LimitUnit; window: BudgetWindow }, scope = '', limit = ''): Promise<undefined> {
  const { unit, window } = options;
  const request = { scope: await scopeOf(scope), window, ...limitOf(limit, unit) };
  const row = await withClient(context, (client) => client.budgets.set(request));
  context.print(
    row,
    () => `${scope}: ${limitText(row)} ${row.window === 'total' ? 'in total' : `a ${row.window}`}, ${amount(row.unit, row.spent)} spent`,
  );
}

async function usage(context: CliContext, { days }: { days: number }): Promise<undefined> {
  const page = await withClient(context, (client) => client.usage(days));
  printPage(context, page, ['DAY', 'COST', 'TOKENS', 'TOOL CALLS'], (row) => [
    row.day,
    usd(row.costMicroUsd),
    String(row.tokens),
    String(row.toolCalls),
  ]);
}

async function scopeOf(text: string): Promise<BudgetScope> {
  const { BudgetScope } = await import('@nexus-agent/protocol');
  const at = text.indexOf(':');
  const scope = BudgetScope.safeParse({ kind: text.slice(0, at), id: text.slice(at + 1) });
  if (!scope.success)
    throw new UsageError(`a scope is <kind>:<id> with the kinds tenant, project, agent, user, session and run; got ${text}`);
  return scope.data;
}

function limitText({ unit, limit }: BudgetRow): string {
  return limit === undefined ? 'no limit' : amount(unit, limit);
}
