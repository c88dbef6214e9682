import { afterAll, describe, it } from 'vitest';
import type { Store } from '../../packages/server/src/storage/index.ts';
import { postgresSubject, type StoreSubject, sqliteSubject } from '../support/stores.ts';
import { verifies } from '../support/verifies.ts';
import { describeAccounts } from './storage-accounts.ts';
import { describeApprovals } from './storage-approvals.ts';
import { describeArtifacts } from './storage-artifacts.ts';
import { describeClocks } from './storage-clocks.ts';
import { describeDefinitions } from './storage-definitions.ts';
import { describeFileStore } from './storage-files.ts';
import { describeJournal } from './storage-journal.ts';
import { describeLedgerStore } from './storage-ledger.ts';
import { describeLimits } from './storage-limits.ts';
import { describeLocks } from './storage-locks.ts';
import { describeLedgerProcesses } from './storage-processes.ts';
import { describeQueue } from './storage-queue.ts';
import { describeResourceStore } from './storage-resources.ts';
import { describeRetention } from './storage-retention.ts';

import { describeSchema } from './storage-schema.ts';
import { describeSessionLog } from './storage-sessions.ts';
import { describeToolStore } from './storage-tools.ts';
import { describeTurns } from './storage-turns.ts';

function describeOn(subject: StoreSubject, fresh: () => Promise<StoreSubject>): void {
  const opened: Store[] = [];
  const open = async () => {
    const store = await subject.open();
    opened.push(store);
    return store;
  };
  afterAll(async () => {
    await Promise.all(opened.map((store) => store.close()));
    await subject.close();
  });
  describe(`store: ${subject.name} ${verifies('storage.conformance')}`, () => {
    describeSchema(subject.name);
    describeJournal(open);
    describeQueue(open);
    describeApprovals(open);
    describeSessionLog(open);
    describeTurns(open);
    describeResourceStore(open);
    describeToolStore(open);
    describeDefinitions(open, fresh);
    describeFileStore(open);
    describeArtifacts(open);
    describeLedgerStore(subject, open);
    describeAccounts(subject, open);
    describeRetention(subject, open);
    describeLimits(open);
    describeLedgerProcesses(subject, open);
    describeLocks(subject, open);
    describeClocks(subject, open, fresh);
  });
}

describeOn(sqliteSubject(), async () => sqliteSubject());

const postgres = await postgresSubject();
if ('reason' in postgres) describe('store: postgres', () => it.skip(`not run: ${postgres.reason}`));
else
  describeOn(postgres, async () => {
    const another = await postgresSubject();
    if ('reason' in another) throw new Error(another.reason);
    return another;
  });
