import { afterAll, describe, it } from 'vitest';
import { postgresSubject, type StoreSubject, sqliteSubject } from '../support/stores.ts';
import { describeQuotas } from './storage-quotas.ts';

function describeOn(subject: StoreSubject): void {
  afterAll(() => subject.close());
  describe(`quotas: ${subject.name}`, () => describeQuotas(subject));
}

describeOn(sqliteSubject());
const postgres = await postgresSubject();
if ('reason' in postgres) describe('quotas: postgres', () => it.skip(`not run: ${postgres.reason}`));
else describeOn(postgres);
