/** The slice of the configuration that the store owns. */
import { z } from 'zod';
import { durationMs, group, isAmbiguousAddress, setting } from '#core';

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
  sqlite: group({
    synchronous: setting(z.enum(['NORMAL', 'FULL']).default('NORMAL'), '`FULL` also survives power loss without losing the last commits.'),
  }),
  postgres: group({
    maxConnections: setting(z.int().min(2).max(1000).default(10), 'Connections to the database that one process holds at most.'),
    migrationTimeoutMs: setting(
      durationMs().min(100).default(8_000),
      'How long a process that starts may take to bring the schema up to date, or wait for another that does.',
    ),
  }),
};
