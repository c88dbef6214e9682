import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { BudgetScope } from '@nexus-agent/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { limitOperations } from '../../packages/server/src/budget/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { auditLedger } from '../support/ledger-invariants.ts';
import type { Acknowledgement, LedgerProcessOptions } from '../support/ledger-process.ts';
import { newTenant, type StoreSubject } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';

const script = fileURLToPath(new URL('../support/ledger-process.ts', import.meta.url));

/** Runs a process of `ledger-process.ts`; kills it after that many acknowledgements when told to. */
function runProcess(options: LedgerProcessOptions, killAfter = Number.POSITIVE_INFINITY): Promise<Acknowledgement[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--conditions=nexus-source', '--no-warnings', script, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    let errors = '';
    let lines = 0;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      lines += text.split('\n').length - 1;
      if (lines >= killAfter) child.kill('SIGKILL');
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const expected = Number.isFinite(killAfter) ? signal === 'SIGKILL' : code === 0;
      if (!expected) return reject(new Error(`the process ended with ${code ?? signal}: ${errors}`));
      const complete = output.slice(0, output.lastIndexOf('\n') + 1);
      const parse = (line: string): Acknowledgement => JSON.parse(line);
      resolve(complete.split('\n').filter(Boolean).map(parse));
    });
  });
}

/** Budgets under several real processes on one database, some of them killed. */
export function describeLedgerProcesses(subject: StoreSubject, open: () => Promise<Store>): void {
  let store: Store;
  beforeAll(async () => {
    store = await open();
  });

  describe('ledger over processes', () => {
    it(`admits exactly 137 of 1,000 from three processes ${verifies('budget.race.processes')}`, async () => {
      const tenantId = newTenant();
      const scopes: BudgetScope[] = [
        { kind: 'session', id: 's' },
        { kind: 'tenant', id: tenantId },
      ];
      await store.commit({ tenantId, ledger: scopes.flatMap((scope) => limitOperations(scope, { tokens: 137 * 7 })) });
      const processes = ['a', 'b', 'c'].map((name, index) =>
        runProcess({
          location: subject.location,
          tenantId,
          scopes,
          name,
          mode: 'reserve',
          concurrency: 50,
          operations: index === 0 ? 334 : 333,
        }),
      );
      const acknowledged = (await Promise.all(processes)).flat();
      expect(acknowledged).toHaveLength(1000);
      expect(acknowledged.filter(({ outcome }) => outcome === 'reserved')).toHaveLength(137);
      expect(await auditLedger(store, tenantId)).toEqual([]);
    });

    it(`keeps its invariants and every acknowledged change when two of three processes are killed ${verifies('budget.invariants.kill')}`, async () => {
      const tenantId = newTenant();
      const scopes: BudgetScope[] = [
        { kind: 'run', id: 'r' },
        { kind: 'session', id: 's' },
        { kind: 'tenant', id: tenantId },
      ];
      await store.commit({ tenantId, ledger: scopes.flatMap((scope) => limitOperations(scope, { tokens: 4000 })) });
      const common = { location: subject.location, tenantId, scopes, mode: 'mixed', concurrency: 16 } as const;
      const results = await Promise.all([
        runProcess({ ...common, name: 'survivor', operations: 800 }),
        runProcess({ ...common, name: 'killed-1', operations: 1_000_000 }, 150),
        runProcess({ ...common, name: 'killed-2', operations: 1_000_000 }, 400),
      ]);
      expect(await auditLedger(store, tenantId)).toEqual([]);
      const stored = new Map((await store.listReservations(tenantId, {})).map((row) => [row.reservationId, row]));
      for (const { type, id, outcome } of results.flat()) {
        if (type === 'reserve' && outcome === 'reserved') expect(stored.has(id), `${id} was acknowledged`).toBe(true);
        if (type !== 'reserve' && outcome === 'settled') expect(stored.get(id)?.state, `${id} was closed`).not.toBe('open');
      }
      const left = [...stored.values()].filter((row) => row.state === 'open');
      await store.commit({ tenantId, ledger: left.map(({ reservationId }) => ({ type: 'charge', reservationId })) });
      expect(await auditLedger(store, tenantId)).toEqual([]);
      const rows = (await store.listBudgets(tenantId, {}, Date.now(), { limit: 100 })).items;
      expect(rows.every((row) => row.reserved === 0)).toBe(true);
    });
  });
}
