import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdSource, systemClock, systemTimers } from '../../packages/server/src/core/index.ts';
import { ledgerRules } from '../../packages/server/src/ledger/index.ts';
import { createStore, openDriver as openAny } from '../../packages/server/src/storage/drivers/index.ts';
import { openPostgres } from '../../packages/server/src/storage/drivers/testing/index.ts';
import type { Driver } from '../../packages/server/src/storage/program/index.ts';
import { growDatabase } from '../support/grown-database.ts';
import { howMany } from '../support/how-many.ts';
import { createListener, faultOf, type IssuedStatement, openExplainer } from '../support/query-plans.ts';
import { execute } from '../support/sql.ts';
import { type DatabaseLocation, postgresSubject, type StoreSubject, sqliteSubject } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';
import { visitStore } from '../support/visit-store.ts';

/** Statements that may read more than they answer, and why. */
const exceptions: readonly { readonly of: RegExp; readonly because: string }[] = [
  { of: /with recursive "hops"/, because: 'the tenants of one claim are sorted, which are at most 256' },
  { of: /sum\(chars\) over \(order by seq\)/, because: 'a page of one journal is sorted' },
  {
    of: /budgets where tenant_id = .* scope in \(/,
    because: 'as many keys as it names, in a table that Postgres may prefer to read while it is small',
  },
  { of: /from "?files"?/, because: 'what a tree changed since a version that is known; its files have a quota' },
  {
    of: /FILTER \(status = '(completed|decided)'::text\)/,
    because: 'Postgres knows that nearly all runs have completed, and nearly all questions are answered',
  },
  { of: /from "api_keys" .* group by "secret_id"/, because: 'keys are made by people, and are counted when a node starts' },
];

/** In the database when the questions are asked: enough that tables differ from indexes. */
const runs = howMany('NEXUS_TEST_PLAN_RUNS', 5_000);
const timeoutMs = 60_000;
const common = { timeoutMs, clock: systemClock, asIs: true };

function openDriver({ url, dataDir = '' }: DatabaseLocation): Promise<Driver> {
  if (url === undefined) return openAny({ ...common, dataDir, synchronous: 'NORMAL' });
  return openPostgres({ ...common, url, maxConnections: 3, migrationTimeoutMs: timeoutMs, onNotice: () => undefined });
}

interface Finding {
  readonly fault: string;
  readonly methods: string;
  readonly sql: string;
  readonly plan: readonly string[];
}

async function findingsOf(location: DatabaseLocation, issued: Iterable<IssuedStatement>): Promise<readonly Finding[]> {
  const explainer = await openExplainer(location);
  const findings: Finding[] = [];
  try {
    for (const statement of issued) {
      const plan = await explainer.explain(statement);
      const fault = faultOf(statement, plan);
      if (fault === null || exceptions.some(({ of }) => of.test(`${statement.sql.replace(/\s+/g, ' ')} ${fault}`))) continue;
      findings.push({ fault, methods: [...statement.methods].join(', '), sql: statement.sql.replace(/\s+/g, ' '), plan });
    }
  } finally {
    await explainer.close();
  }
  return findings;
}

function describePlans(subject: StoreSubject): void {
  describe(`plans of queries: ${subject.name}`, () => {
    const listener = createListener(subject.name);
    let methods: readonly string[] = [];
    beforeAll(
      async () => {
        await (await subject.open()).close();
        await growDatabase(subject.location, runs);
        const driver = listener.onDriver(await openDriver(subject.location));
        const ids = createIdSource(systemClock);
        const store = createStore({ driver, ledgerRules, clock: systemClock, timers: systemTimers, ids, timeoutMs });
        methods = Object.entries(store).flatMap(([name, member]) => (typeof member === 'function' ? [name] : []));
        await visitStore(listener.onStore(store));
        await store.close();
      },
      120_000 + runs * 5,
    );
    afterAll(() => subject.close());

    it('are looked at for every method of the store', () => {
      expect(methods.filter((name) => !listener.called.has(name)).sort()).toEqual(['close', 'giveUp']);
    });

    it(`read no table that grows, and sort nothing that grows ${verifies('storage.plans')}`, async () => {
      expect(listener.issued.size).toBeGreaterThan(150);
      const findings = await findingsOf(subject.location, listener.issued.values());
      expect(findings.map(({ fault, methods: by, sql, plan }) => `${by}: ${fault}\n${sql}\n${plan.join('\n')}`).join('\n\n')).toBe('');
    });

    it('are found at fault once an index is gone', async () => {
      await execute(subject.location, 'drop index runs_status');
      const found = await findingsOf(subject.location, listener.issued.values());
      expect(found.map(({ methods: by }) => by)).toEqual(expect.arrayContaining([expect.stringContaining('listRuns')]));
    });
  });
}

describePlans(sqliteSubject());

const postgres = await postgresSubject();
if ('reason' in postgres) describe('plans of queries: postgres', () => it.skip(`not run: ${postgres.reason}`));
else describePlans(postgres);
