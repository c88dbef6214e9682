/**
 * A process of the budget tests: commits random ledger operations and prints a line for each acknowledged one, until
 * its time is up or it is killed. Its argument is the JSON of {@link LedgerProcessOptions}.
 */
import { writeSync } from 'node:fs';
import type { BudgetScope, TenantId } from '@nexus-agent/protocol';
import type { LedgerOperation } from '../../packages/server/src/ledger/index.ts';
import { type DatabaseLocation, openTestStore } from './stores.ts';

export interface LedgerProcessOptions {
  readonly location: DatabaseLocation;
  readonly tenantId: TenantId;
  readonly scopes: readonly BudgetScope[];
  readonly name: string;
  /** `reserve` only reserves, `mixed` does everything. */
  readonly mode: 'reserve' | 'mixed';
  /** Operations that wait at the same time. */
  readonly concurrency: number;
  readonly operations: number;
}

/** A line of its output. */
export interface Acknowledgement {
  readonly type: LedgerOperation['type'];
  readonly id: string;
  readonly outcome: string;
}

const options: LedgerProcessOptions = JSON.parse(process.argv[2] ?? '{}');
const { tenantId, scopes, name, mode, concurrency, operations } = options;
const store = await openTestStore(options.location);
const random = (below: number) => Math.floor(Math.random() * below);

function next(index: number): LedgerOperation {
  const own = `${name}-${index}`;
  // Ids of the other processes too: duplicates and races over one reservation are part of the test.
  const any = random(4) === 0 ? `shared-${random(50)}` : `${name}-${Math.max(0, index - random(20))}`;
  const choice = mode === 'reserve' ? 0 : random(10);
  if (choice < 5) {
    return {
      type: 'reserve',
      reservationId: mode === 'mixed' && choice === 0 ? any : own,
      runId: null,
      scopes: mode === 'reserve' ? scopes : scopes.slice(random(scopes.length)),
      fixed: { tokens: 7 },
      expiresAt: Date.now() + 60_000,
    };
  }
  if (choice < 8) return { type: 'settle', reservationId: any, actual: { tokens: random(8) } };
  return { type: choice === 8 ? 'release' : 'charge', reservationId: any };
}

let index = 0;
await Promise.all(
  Array.from({ length: concurrency }, async () => {
    while (index < operations) {
      const operation = next(index++);
      const result = await store.commit({ tenantId, ledger: [operation] });
      const outcome = result.type === 'committed' ? (result.outcomes[0]?.type ?? '') : result.type;
      const id = 'reservationId' in operation ? operation.reservationId : '';
      // A synchronous write: what a killed process printed had been acknowledged, and is not lost in a buffer.
      writeSync(1, `${JSON.stringify({ type: operation.type, id, outcome } satisfies Acknowledgement)}\n`);
    }
  }),
);
await store.close();
