import type { BudgetScope, BudgetUnit, TenantId } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type LedgerOperation, rowKey } from '../../packages/server/src/ledger/index.ts';
import type { CommitResult, Store } from '../../packages/server/src/storage/index.ts';
import { auditLedger } from '../support/ledger-invariants.ts';
import { newTenant } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const project: BudgetScope = { kind: 'project', id: 'r' };
const user: BudgetScope = { kind: 'user', id: 'u' };
const agent: BudgetScope = { kind: 'agent', id: 'a' };
const unit: BudgetUnit = 'tokens';

const setLimit = (scope: BudgetScope, limit: number | null): LedgerOperation => ({ type: 'limit', scope, unit, window: 'total', limit });

/** Limits that are set while work is in flight, in one process and between several. */
export function describeLimits(open: () => Promise<Store>): void {
  const stores: Store[] = [];
  beforeAll(async () => {
    for (let index = 0; index < 3; index++) stores.push(await open());
  });
  const storeAt = (index: number) => stores[index % stores.length] as Store; // three of them are open

  describe('limits in flight', () => {
    it(`lose no reservation that is made or settled at the same time ${verifies('budget.limit.in-flight')}`, async () => {
      for (let round = 0; round < 8; round++) {
        const tenantId = newTenant();
        const commit = (index: number, ...ledger: LedgerOperation[]) => storeAt(index).commit({ tenantId, ledger });
        const work = async (index: number) => {
          const reservationId = `r${index}`;
          const reserved = await commit(index, {
            type: 'reserve',
            reservationId,
            runId: null,
            scopes: [project, user, agent],
            fixed: { tokens: 7 },
            expiresAt: Date.now() + 60_000,
          });
          if (reserved.type === 'committed' && index % 3 !== 0)
            await commit(index + 1, { type: 'settle', reservationId, actual: { tokens: 5 } });
          return reserved;
        };
        const limitAfter = async (turns: number, index: number, scope: BudgetScope, limit: number) => {
          await pause(turns);
          return commit(index, setLimit(scope, limit));
        };
        await Promise.all([
          ...Array.from({ length: 90 }, async (_, index) => {
            await pause(index % 9);
            return work(index);
          }),
          limitAfter(2 + round, 1, user, 10_000),
          limitAfter(4 + round, 2, agent, 10_000),
        ]);
        expect(await auditLedger(storeAt(0), tenantId)).toEqual([]);
        const held = await storeAt(0).listReservations(tenantId, { state: 'open' });
        for (const scope of [user, agent]) {
          const key = rowKey(scope, unit, 'total');
          expect(held.filter(({ rows }) => !rows.includes(key)).map(({ reservationId }) => reservationId)).toEqual([]);
        }
      }
    });

    it(`find what is open in a scope whatever its name is, and hold none of others ${verifies('budget.limit.in-flight')}`, async () => {
      const names = ['a_b', 'aXb', 'a%b', 'A_B', 'a!b', 'a"b', 'a\\\\b', "a'b", 'a|b', 'ä😀', 'a', 'a b'];
      const tenantId = newTenant();
      const store = storeAt(0);
      const reserve = (name: string, index: number): LedgerOperation => ({
        type: 'reserve',
        reservationId: `n${index}`,
        runId: null,
        scopes: [{ kind: 'user', id: name }, agent],
        fixed: { tokens: 2 ** index },
        expiresAt: Date.now() + 60_000,
      });
      await store.commit({ tenantId, ledger: names.map(reserve) });
      for (const [index, name] of names.entries()) {
        const scope: BudgetScope = { kind: 'user', id: name };
        await storeAt(index).commit({ tenantId, ledger: [setLimit(scope, 10_000)] });
        const { items } = await store.listBudgets(tenantId, { scopes: [scope] }, Date.now(), { limit: 5 });
        expect(items, name).toMatchObject([{ reserved: 2 ** index }]);
      }
      await store.commit({ tenantId, ledger: [setLimit(agent, 10_000)] });
      const { items } = await store.listBudgets(tenantId, { scopes: [agent] }, Date.now(), { limit: 5 });
      expect(items).toMatchObject([{ reserved: 2 ** names.length - 1 }]);
      expect(await auditLedger(store, tenantId)).toEqual([]);
    });

    it(`hold with everything else under random interleavings, for a world that bills what it does ${verifies('budget.invariants')}`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(stepArbitrary, { minLength: 1, maxLength: 12 }), { minLength: 3, maxLength: 14 }),
          async (groups) => {
            const world = new World(newTenant(), storeAt);
            for (const group of groups) {
              await world.take(group);
              await world.check();
            }
            await world.end();
          },
        ),
        { numRuns: 15, endOnFailure: true },
      );
    }, 60_000);
  });
}

async function pause(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const stepArbitrary = fc.record({
  type: fc.constantFrom('reserve', 'reserve', 'reserve', 'use', 'use', 'bound', 'settle', 'kill', 'charge', 'release', 'repeat', 'limit'),
  work: fc.nat(11),
  amount: fc.integer({ min: 1, max: 100 }),
  scope: fc.nat(2),
});
type Step = typeof stepArbitrary extends fc.Arbitrary<infer T> ? T : never;

/** A piece of work: what it may use, by its reservation or by the newest bound that was taken, and what the world bills for it. */
interface Work {
  readonly id: string;
  readonly scopes: readonly BudgetScope[];
  mayUse: number;
  billed: number;
  alive: boolean;
  /** All that it may use is paid for. */
  isCharged: boolean;
}

const scopesOfWork = [project, user, agent];

/** Processes that work, die and come back, sweepers and administrators; and what all of it really costs. */
class World {
  readonly #tenantId: TenantId;
  readonly #storeAt: (index: number) => Store;
  readonly #work = new Map<number, Work>();
  readonly #all: Work[] = [];
  /** What each limit that was set has to cover: what is billed beyond this. */
  readonly #billedBefore = new Map<BudgetScope, ReadonlyMap<Work, number>>();
  #levels = new Map<string, number>();
  #ids = 0;

  constructor(tenantId: TenantId, storeAt: (index: number) => Store) {
    this.#tenantId = tenantId;
    this.#storeAt = storeAt;
  }

  /** Steps of different works at the same time; limits are set between them, so that it is known what they have to cover. */
  async take(group: readonly Step[]): Promise<void> {
    const lanes = new Map<number, Step[]>();
    for (const step of group) if (step.type !== 'limit') lanes.set(step.work, [...(lanes.get(step.work) ?? []), step]);
    await Promise.all(
      [...lanes].map(async ([slot, steps]) => {
        for (const step of steps) await this.#step(slot, step);
      }),
    );
    for (const step of group) if (step.type === 'limit') await this.#limit(step);
  }

  async #limit({ scope, amount, work }: Step): Promise<void> {
    const of = scopesOfWork[scope] ?? project;
    // One in twelve takes the limit away.
    await this.#commit(scope, setLimit(of, work === 0 ? null : amount * 5));
    if (!this.#billedBefore.has(of))
      this.#billedBefore.set(of, new Map(this.#all.map((each) => [each, each.isCharged ? each.mayUse : each.billed])));
    this.#levels = await this.#measure();
  }

  async #step(slot: number, { type, amount, scope }: Step): Promise<void> {
    const work = this.#work.get(slot);
    if (type === 'reserve' || type === 'repeat') {
      // Another attempt of work that was cut off pays for itself.
      if (work?.alive) return;
      const made: Work = { id: `w${this.#ids++}`, scopes: scopesOfWork.slice(scope), mayUse: 0, billed: 0, alive: true, isCharged: false };
      const result = await this.#commit(slot, {
        type: 'reserve',
        reservationId: made.id,
        runId: null,
        scopes: made.scopes,
        fixed: { tokens: Math.ceil(amount / 2) },
        tokens: { min: 1, max: amount, costMicroUsdPerMillion: 0 },
        whole: amount % 2 === 0,
        expiresAt: Date.now() + 60_000,
      });
      if (result.type !== 'committed') return;
      const [outcome] = result.outcomes;
      made.mayUse = outcome?.type === 'reserved' ? (outcome.amounts.tokens ?? 0) : 0;
      this.#work.set(slot, made);
      this.#all.push(made);
      return;
    }
    if (work === undefined) return;
    switch (type) {
      case 'use':
        if (work.alive) work.billed = Math.min(work.mayUse, work.billed + amount);
        return;
      case 'bound': {
        if (!work.alive) return;
        const atMost = { tokens: work.billed + Math.ceil(amount / 10) };
        const result = await this.#commit(slot, { type: 'bound', reservationId: work.id, atMost });
        const taken = result.type === 'committed' && result.outcomes[0]?.type === 'bounded';
        if (taken) work.mayUse = Math.min(work.mayUse, atMost.tokens);
        else work.alive = false;
        return;
      }
      case 'settle':
        if (work.alive) await this.#commit(slot, { type: 'settle', reservationId: work.id, actual: { tokens: work.billed } });
        work.alive = false;
        return;
      case 'release':
        if (work.alive && work.billed === 0) {
          await this.#commit(slot, { type: 'release', reservationId: work.id });
          work.alive = false;
        }
        return;
      case 'kill':
        work.alive = false;
        return;
      default:
        // By who takes over; or by the sweeper, while its holder goes on and settles late.
        await this.#commit(slot + 1, { type: 'charge', reservationId: work.id });
        work.isCharged = true;
    }
  }

  #commit(index: number, ...ledger: LedgerOperation[]): Promise<CommitResult> {
    return this.#storeAt(index).commit({ tenantId: this.#tenantId, ledger });
  }

  async #measure(): Promise<Map<string, number>> {
    const { items } = await this.#storeAt(0).listBudgets(this.#tenantId, {}, Date.now(), { limit: 100 });
    return new Map(items.map((row) => [rowKey(row.scope, row.unit, row.window), row.spent + row.reserved]));
  }

  /** Nothing above a limit grows, and the books add up. */
  async check(): Promise<void> {
    const { items } = await this.#storeAt(0).listBudgets(this.#tenantId, {}, Date.now(), { limit: 100 });
    const problems = await auditLedger(this.#storeAt(0), this.#tenantId);
    expect(problems.filter((problem) => !/ reserved of /.test(problem))).toEqual([]);
    for (const row of items) {
      const before = this.#levels.get(rowKey(row.scope, row.unit, row.window)) ?? 0;
      expect(row.spent + row.reserved).toBeLessThanOrEqual(Math.max(row.limit ?? Number.POSITIVE_INFINITY, before));
    }
  }

  /** Everything comes to an end: each limit has paid for all that was billed since it was first set. */
  async end(): Promise<void> {
    for (const work of this.#all) {
      await this.#commit(
        0,
        work.alive
          ? { type: 'settle', reservationId: work.id, actual: { tokens: work.billed } }
          : { type: 'charge', reservationId: work.id },
      );
    }
    await this.check();
    const { items } = await this.#storeAt(0).listBudgets(this.#tenantId, {}, Date.now(), { limit: 100 });
    for (const [scope, before] of this.#billedBefore) {
      const paid = items.find((row) => row.scope.kind === scope.kind);
      const billed = this.#all
        .filter(({ scopes }) => scopes.includes(scope))
        .reduce((sum, work) => sum + Math.max(0, work.billed - (before.get(work) ?? 0)), 0);
      expect(paid?.reserved).toBe(0);
      expect(paid?.spent).toBeGreaterThanOrEqual(billed);
    }
    const entries = await this.#storeAt(0).listLedgerEntries(this.#tenantId, {}, { limit: 500 });
    expect(entries.items.filter(({ kind }) => kind === 'late_usage' || kind === 'overrun')).toEqual([]);
  }
}
