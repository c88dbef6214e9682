import type { BudgetScope, BudgetUnit, BudgetWindow } from '@nexus-agent/protocol';
import { BudgetScopeKind } from '@nexus-agent/protocol';
import type { LedgerRowKey, Subject } from './contract.ts';

/** The limits of this scope hold for each user who has no row of their own in the unit and window. Nobody has this name. */
export const everyUser: BudgetScope = { kind: 'user', id: '*' };

/** A scope as text: `<kind>:<id>`. */
export function scopeKey(scope: BudgetScope): string {
  return `${scope.kind}:${scope.id}`;
}

/** The scope of a {@link scopeKey}. */
export function scopeOfKey(text: string): BudgetScope {
  const colon = text.indexOf(':');
  const word = text.slice(0, colon);
  return { kind: kinds.get(word) ?? BudgetScopeKind.parse(word), id: text.slice(colon + 1) };
}

const kinds: ReadonlyMap<string, BudgetScope['kind']> = new Map(BudgetScopeKind.options.map((kind) => [kind, kind]));

export function rowKey(scope: BudgetScope, unit: BudgetUnit, window: BudgetWindow): LedgerRowKey {
  return `${scopeKey(scope)}|${unit}|${window}`;
}

/** The {@link scopeKey} that a row's key begins with: an id may contain `|`, a unit and a window never do. */
export function scopeKeyOfRow(key: LedgerRowKey): string {
  const window = key.lastIndexOf('|');
  return key.slice(0, key.lastIndexOf('|', window - 1));
}

/** Whom a charge is for, from the scopes that pay it. */
export function subjectOf(scopes: readonly BudgetScope[], model: string | null): Subject {
  const idOf = (kind: BudgetScope['kind']) => scopes.find((scope) => scope.kind === kind)?.id ?? null;
  return { session: idOf('session'), user: idOf('user'), project: idOf('project'), agent: idOf('agent'), model };
}
