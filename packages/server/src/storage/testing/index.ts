/** The door of storage for tests: the tables that the queries know, and the first schema, to be compared with those of a database. */
import {
  agents,
  agentVersions,
  apiKeys,
  approvals,
  budgets,
  idempotencyKeys,
  ledgerEntries,
  policyDecisions,
  reservations,
  runEvents,
  runs,
  sessions,
  workers,
} from '#storage/tables';
import { schemaMigrations } from '../migrations/index.ts';

export { initial } from '../migrations/001-initial.ts';

export const tables = [
  agents,
  agentVersions,
  apiKeys,
  approvals,
  budgets,
  idempotencyKeys,
  ledgerEntries,
  policyDecisions,
  reservations,
  runEvents,
  runs,
  sessions,
  workers,
  schemaMigrations,
];
