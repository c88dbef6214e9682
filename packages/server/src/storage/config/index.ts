/** The slice of the configuration that the store owns. */
import { z } from 'zod';
import { durationMs, group, isAmbiguousAddress, setting } from '#core';

/** How much of something there may be. */
function count() {
  return z.int().min(0).max(1_000_000_000);
}

export const storageConfig = {
  databaseUrl: setting(
    z
      .url({ protocol: /^postgres(ql)?$/, error: 'expected postgres://user:password@host:port/database' })
      .refine((url) => !isAmbiguousAddress(url), { error: 'expected postgres://user:password@host:port/database' })
      .optional(),
    'Postgres instead of the embedded database.',
    { environment: 'NEXUS_DATABASE_URL', otherwise: 'the embedded database in `dataDir`' },
  ),
  storage: group({
    timeoutMs: setting(
      durationMs().min(100).max(60_000).default(8_000),
      'Whatever is asked of the database is answered, or has failed, after about so long: connecting, waiting for a connection or a lock, and repeating included.',
    ),
  }),
  transaction: group({
    maxCommits: setting(z.int().min(1).max(10_000).default(256), 'Most commits of a tenant that one transaction takes together.'),
    maxCharacters: setting(
      z.int().min(1).max(1_000_000_000).default(4_000_000),
      'A transaction takes no further commits once the events in it have so many characters.',
    ),
  }),
  quotas: group({
    sessions: setting(count().default(1_000_000), 'Most sessions of a tenant.'),
    agents: setting(count().default(10_000), 'Most agents of a tenant, those that all tenants have included.'),
    agentVersions: setting(count().default(10_000), 'Most versions of one agent.'),
    keys: setting(count().default(1_000), 'Most API keys of a tenant that are not revoked.'),
    approvals: setting(count().default(10_000), 'Most approvals of a tenant that wait for an answer.'),
    idempotencyKeys: setting(count().default(5_000_000), 'Most `Idempotency-Key`s of a tenant that are kept.'),
    queuedRuns: setting(count().default(20_000), 'Most runs of a tenant that wait for their turn, without those that runs start.'),
    budgets: setting(count().default(10_000), 'Most scopes of a tenant with a limit, other than sessions and runs.'),
    toolSources: setting(count().default(1_000), 'Most sources of tools of a tenant: HTTP and MCP servers, plugins and pools of workers.'),
    files: setting(count().default(2_000_000), 'Most files of a tenant, in all sessions and forks.'),
    contents: setting(count().default(2_000_000), 'Most contents of files that are kept for a tenant, older versions included.'),
    contentBytes: setting(
      z
        .int()
        .min(0)
        .max(1024 ** 5)
        .default(20 * 1024 ** 3),
      'Most bytes of contents of files that are kept for a tenant, older versions included.',
    ),
  }),
  sqlite: group({
    synchronous: setting(z.enum(['NORMAL', 'FULL']).default('NORMAL'), '`FULL` also survives power loss without losing the last commits.'),
  }),
  postgres: group({
    maxConnections: setting(
      z.int().min(2).max(1000).default(10),
      'Connections to the database that one process holds at most, beside one for the bus. Those of all processes together must stay below its ' +
        '`max_connections`: with 100 there, eight processes fit.',
    ),
    migrationTimeoutMs: setting(
      durationMs().min(100).default(8_000),
      'How long a process that starts may take to bring the schema up to date, or wait for another that does.',
    ),
  }),
};
