import type { BudgetRow, BudgetScope, BudgetScopeKind, BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';
import { Option } from 'commander';
import type { LimitUnit } from '#core';
import { typedAmount } from '../amounts.ts';
import { type CliContext, withClient } from '../context.ts';
import { amount as amountText } from '../describe-event.ts';
import { UsageError } from '../exit-codes.ts';
import { brief } from '../style.ts';
import { type Registrar, tenantOf, tenantOption, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function budgetCommands({ program, action }: Registrar): void {
  const budget = program.command('budgets').description('limits and balances');
  withPages(budget.command('list', { isDefault: true }).description('list limits and balances'))
    .option('--scope <kind:id>', 'only of this scope')
    .addOption(tenantOption())
    .addOption(
      new Option('--kind <kind...>', 'of these kinds of scopes (default: tenant, project, agent and user)').choices([
        ...wideKinds,
        'session',
        'run',
      ]),
    )
    .action(action(list));
  budget
    .command('set')
    .description('set a limit')
    .argument(
      '<scope>',
      'such as tenant:default, session:ses_… or user:ann; user:* is every user without a limit of their own, and the only pattern',
    )
    .argument('<limit>', 'US dollars such as 25, $25 or 0.50; with another unit 200000 or 200k, 90s or 10m; none: counted only')
    .addOption(unitOption())
    .addOption(windowOption())
    .addOption(tenantOption())
    .action(action(set));
  budget
    .command('remove')
    .description('take a limit away; what is spent goes on being counted')
    .argument('<scope>')
    .addOption(unitOption())
    .addOption(windowOption())
    .addOption(tenantOption())
    .action(action(remove));
}

const limitUnits = ['usd', 'costMicroUsd', 'tokens', 'toolCalls', 'wallMs'] satisfies LimitUnit[];
const unitOption = () => new Option('--unit <unit>', 'what is limited').choices(limitUnits).default('usd');
const windowOption = () => new Option('--window <window>', 'in which time').choices(['total', 'day', 'month']).default('total');

/** What operators limit; each session has balances of its own besides, which would bury them. */
const wideKinds = ['tenant', 'project', 'agent', 'user'] as const satisfies BudgetScopeKind[];

async function list(
  context: CliContext,
  options: PageFlags & { scope?: string; kind?: BudgetScopeKind[]; tenant?: string },
): Promise<undefined> {
  const { scope, kind } = options;
  const filter =
    scope === undefined ? { kinds: kind ?? wideKinds } : { scope: await scopeOf(scope), ...(kind === undefined ? {} : { kinds: kind }) };
  const whose = tenantOf(options);
  const page = await withClient(context, (client) => client.budgets.list({ ...pageFlags(options), ...filter, ...whose }));
  printPage(context, page, ['SCOPE', 'WINDOW', 'LIMIT', 'SPENT', 'RESERVED'], (row) => [
    `${row.scope.kind}:${brief(row.scope.id)}`,
    row.window === 'total' ? 'total' : `${row.window} ${row.period}`,
    limitText(row),
    amountText(row.unit, row.spent),
    amountText(row.unit, row.reserved),
  ]);
  if (context.options.json === true) return;
  const notes = [
    ...(page.data.some(({ inherited }) => inherited) ? ['(*) the limit is that of user:*'] : []),
    ...(scope === undefined && kind === undefined
      ? ['those of sessions and runs: --kind session run', 'what each user spent: nexus usage --by user']
      : []),
  ];
  if (notes.length > 0) context.note(context.err('dim', notes.join('\n')));
}

async function set(
  context: CliContext,
  options: { unit: LimitUnit; window: BudgetWindow; tenant?: string },
  scope = '',
  limit = '',
): Promise<undefined> {
  const { unit, window } = options;
  const amount = limit === 'none' ? { unit: ledgerUnit(unit), limit: null } : await typedAmount(limit, unit, '<limit>');
  const request = { scope: await scopeOf(scope), window, ...amount, ...tenantOf(options) };
  const row = await withClient(context, (client) => client.budgets.set(request));
  context.print(
    row,
    () =>
      `${scope}: ${limitText(row)} ${row.window === 'total' ? 'in total' : `a ${row.window}`}, ${amountText(row.unit, row.spent)} spent`,
  );
}

async function remove(
  context: CliContext,
  { unit, window, ...options }: { unit: LimitUnit; window: BudgetWindow; tenant?: string },
  scope = '',
): Promise<undefined> {
  const which = { scope: await scopeOf(scope), unit: ledgerUnit(unit), window, ...tenantOf(options) };
  await withClient(context, (client) => client.budgets.remove(which));
  context.print(which, () => `${scope}: the limit ${window === 'total' ? 'in total' : `a ${window}`} is gone`);
}

function ledgerUnit(unit: LimitUnit): BudgetUnit {
  return unit === 'usd' ? 'costMicroUsd' : unit;
}

async function scopeOf(text: string): Promise<BudgetScope> {
  const { BudgetScope } = await import('@nexus-agent/protocol');
  const at = text.indexOf(':');
  const scope = BudgetScope.safeParse({ kind: text.slice(0, at), id: text.slice(at + 1) });
  if (!scope.success)
    throw new UsageError(`a scope is <kind>:<id> with the kinds tenant, project, agent, user, session and run; got ${text}`);
  return scope.data;
}

function limitText({ unit, limit, inherited }: BudgetRow): string {
  return limit === undefined ? 'no limit' : `${amountText(unit, limit)}${inherited === true ? ' (*)' : ''}`;
}
