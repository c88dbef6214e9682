import type { BudgetScope } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import type { LedgerOperation, LedgerOutcome, LedgerRow } from './contract.ts';
import { rowKey } from './keys.ts';
import { ledgerRules } from './rules.ts';

const tenant: BudgetScope = { kind: 'tenant', id: 'acme' };
const everyone: BudgetScope = { kind: 'user', id: '*' };
const ann: BudgetScope = { kind: 'user', id: 'ann' };
const unit = 'tokens';
const window = 'total';

function createLedger() {
  const rows = new Map<string, LedgerRow>();
  const apply = (operation: LedgerOperation): LedgerOutcome['type'] | undefined => {
    const change = ledgerRules({ rows, reservations: new Map() }, [operation], Date.UTC(2026, 10, 22));
    for (const [key, row] of change.rows) rows.set(key, row);
    return change.outcomes[0]?.type;
  };
  return {
    set: (scope: BudgetScope, limit: number | null, byOwner = false) => apply({ type: 'limit', scope, unit, window, limit, byOwner }),
    unset: (scope: BudgetScope, byOwner = false) => apply({ type: 'unlimit', scope, unit, window, byOwner }),
    limit: (scope: BudgetScope) => rows.get(rowKey(scope, unit, window))?.limit,
  };
}

it("an owner's limit is lowered by others, and raised or removed by owners only [verifies hostile.policy.limits]", () => {
  const ledger = createLedger();
  expect(ledger.set(tenant, 100, true)).toBe('limited');
  expect([ledger.set(tenant, 101), ledger.set(tenant, null), ledger.unset(tenant), ledger.limit(tenant)]).toEqual([
    'kept',
    'kept',
    'kept',
    100,
  ]);
  expect([ledger.set(tenant, 40), ledger.set(tenant, 41), ledger.limit(tenant)]).toEqual(['limited', 'kept', 40]);
  expect([ledger.set(tenant, 200, true), ledger.limit(tenant)]).toEqual(['limited', 200]);
  expect([ledger.unset(tenant, true), ledger.set(tenant, 900)]).toEqual(['limited', 'limited']);
});

it("nobody is freed from an owner's limit of every user, but by an owner", () => {
  const ledger = createLedger();
  ledger.set(everyone, 50, true);
  expect([ledger.set(ann, null), ledger.set(ann, 51), ledger.set(ann, 20)]).toEqual(['kept', 'kept', 'limited']);
  expect([ledger.set(ann, null, true), ledger.limit(ann)]).toEqual(['limited', null]);
});

it('a limit that no owner set is whoever administers', () => {
  const ledger = createLedger();
  expect([ledger.set(tenant, 1), ledger.set(tenant, 2), ledger.set(tenant, null), ledger.set(everyone, 5), ledger.set(ann, null)]).toEqual(
    Array(5).fill('limited'),
  );
});
