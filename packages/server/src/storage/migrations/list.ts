import { initial } from './001-initial.ts';
import { expiryCharges } from './002-expiry-charges.ts';
import { leaseLengths } from './003-lease-lengths.ts';
import { sessionLog } from './004-session-log.ts';
import { sessionFiles } from './005-session-files.ts';
import { sharedDefinitions } from './006-shared-definitions.ts';
import { turnsAndRoles } from './007-turns-and-roles.ts';
import { usageAndRetention } from './008-usage-and-retention.ts';
import { limitsInFlight } from './009-limits-in-flight.ts';
import { deathsOfWorkers } from './010-deaths-of-workers.ts';
import { quotas } from './011-quotas.ts';
import { ownedLimits } from './012-owned-limits.ts';
import { sumsAndOrders } from './013-sums-and-orders.ts';
import { journalAsWritten } from './014-journal-as-written.ts';
import { tools } from './015-tools.ts';
import { artifactRows } from './016-artifacts.ts';
import { questionIndexes } from './017-questions.ts';
import { mcpGrantRows } from './018-mcp-grants.ts';
import type { Migration } from './migration.ts';

/** All of them, in order. */
export const migrations: readonly Migration[] = [
  initial,
  expiryCharges,
  leaseLengths,
  sessionLog,
  sessionFiles,
  sharedDefinitions,
  turnsAndRoles,
  usageAndRetention,
  limitsInFlight,
  deathsOfWorkers,
  quotas,
  ownedLimits,
  sumsAndOrders,
  journalAsWritten,
  tools,
  artifactRows,
  questionIndexes,
  mcpGrantRows,
];
