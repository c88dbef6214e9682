import { BudgetScope, type BudgetUnit, type BudgetWindow, type KeyScope } from '@nexus-agent/protocol';
import { type CliContext, withClient } from '../context.ts';
import { amount } from '../describe-event.ts';
import { UsageError } from '../exit-codes.ts';
import { brief, usd } from '../style.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export async function listBudgets(context: CliContext, options: PageFlags & { scope?: string }): Promise<undefined> {
  const scope = options.scope === undefined ? {} : { scope: scopeOf(options.scope) };
  const page = await withClient(context, (client) => client.budgets.list({ ...pageFlags(options), ...scope }));
  printPage(context, page, ['SCOPE', 'WINDOW', 'LIMIT', 'SPENT', 'RESERVED'], (row) => [
    `${row.scope.kind}:${brief(row.scope.id)}`,
    row.window === 'total' ? 'total' : `${row.window} ${row.period}`,
    amount(row.unit, row.limit),
    amount(row.unit, row.spent),
    amount(row.unit, row.reserved),
  ]);
}

export async function setBudget(
  context: CliContext,
  options: { unit: BudgetUnit; window: BudgetWindow },
  scope = '',
  limit = '',
): Promise<undefined> {
  const { unit, window } = options;
  const request = { scope: scopeOf(scope), unit, window, limit: limitOf(limit, unit) };
  const row = await withClient(context, (client) => client.budgets.set(request));
  context.print(
    row,
    () =>
      `${scope}: ${amount(row.unit, row.limit)} ${row.window === 'total' ? 'in total' : `a ${row.window}`}, ${amount(row.unit, row.spent)} spent`,
  );
}

export async function usage(context: CliContext, { days }: { days: number }): Promise<undefined> {
  const page = await withClient(context, (client) => client.usage(days));
  printPage(context, page, ['DAY', 'COST', 'TOKENS', 'TOOL CALLS'], (row) => [
    row.day,
    usd(row.costMicroUsd),
    String(row.tokens),
    String(row.toolCalls),
  ]);
}

export async function listKeys(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.keys.list(pageFlags(options)));
  printPage(context, page, ['ID', 'NAME', 'SCOPES', 'STATE', 'CREATED'], (key) => [
    key.id,
    brief(key.name, 40),
    key.scopes.join(' '),
    key.revokedAt !== undefined ? 'revoked' : key.expiresAt === undefined ? 'active' : `until ${key.expiresAt}`,
    key.createdAt,
  ]);
}

export async function createKey(context: CliContext, options: { name: string; scope?: KeyScope[]; expires?: string }): Promise<undefined> {
  const key = await withClient(context, (client) =>
    client.keys.create({
      name: options.name,
      ...(options.scope === undefined ? {} : { scopes: options.scope }),
      ...(options.expires === undefined ? {} : { expiresAt: options.expires }),
    }),
  );
  context.print(key, () => key.secret ?? '');
  context.note(context.err('dim', `${key.id} · ${key.scopes.join(', ')} · the secret is not shown again`));
}

export async function revokeKey(context: CliContext, _options: object, id = ''): Promise<undefined> {
  await withClient(context, (client) => client.keys.revoke(id));
  context.print({ id, revoked: true }, () => `${id} is revoked`);
}

function scopeOf(text: string): BudgetScope {
  const at = text.indexOf(':');
  const scope = BudgetScope.safeParse({ kind: text.slice(0, at), id: text.slice(at + 1) });
  if (!scope.success)
    throw new UsageError(`a scope is <kind>:<id> with the kinds tenant, project, agent, user, session and run; got ${text}`);
  return scope.data;
}

function limitOf(text: string, unit: BudgetUnit): number {
  const dollars = /^\$(\d+(?:\.\d{1,6})?)$/.exec(text)?.[1];
  if (dollars !== undefined && unit === 'costMicroUsd') return Math.round(Number(dollars) * 1_000_000);
  if (!/^\d{1,13}$/.test(text))
    throw new UsageError(`a limit is a whole number of ${unit}${unit === 'costMicroUsd' ? ', or dollars such as $2.50' : ''}; got ${text}`);
  return Number(text);
}
