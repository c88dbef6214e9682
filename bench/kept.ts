/**
 * What a run leaves in the database: bytes of it, indexes and all, for each agent run (3 model turns, 4 tool calls, an answer of 64
 * deltas), beside the floor, which is the text that must be kept of it: the events of its journal and the decisions that let them.
 *
 *   node --conditions=nexus-source bench/kept.ts [--runs 1000]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import pg from 'pg';
import { acquirePostgres } from '../test/support/postgres.ts';
import { readArguments } from './support/arguments.ts';
import { createClient, runRequest } from './support/client.ts';
import { inLanes, startPlatform } from './support/processes.ts';
import { type Figure, report } from './support/report.ts';

const { values } = readArguments({ options: { runs: { type: 'string', default: '1000' } } });
const runs = Number(values.runs);
/** Fills the first pages of every table and index. */
const first = 200;

interface Size {
  readonly whole: number;
  readonly text: number;
  /** Of the largest tables, with their indexes, where the database tells. */
  readonly tables: ReadonlyMap<string, number>;
}

const largest = ['run_events', 'reservations', 'policy_decisions', 'ledger_entries'];

const textOf = (length: (column: string) => string) =>
  `select (select coalesce(sum(${length('data')}), 0) from run_events) + (select coalesce(sum(${length('record')}), 0) from policy_decisions) as bytes`;

async function sqliteSize(dataDir: string): Promise<Size> {
  const database = new DatabaseSync(join(dataDir, 'nexus.db'), { readOnly: true });
  try {
    const of = (sql: string) => Number(Object.values(database.prepare(sql).get() ?? {})[0]);
    const pages = of('pragma page_count') - of('pragma freelist_count');
    const text = of(textOf((column) => `length(cast(${column} as blob))`));
    return { whole: pages * of('pragma page_size'), text, tables: new Map() };
  } finally {
    database.close();
  }
}

async function postgresSize(url: string): Promise<Size> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    // What rows were before they changed is cleared away now and then; here it is now.
    await client.query('vacuum');
    const of = async (sql: string) => Number(Object.values((await client.query<Record<string, string>>(sql)).rows[0] ?? {})[0]);
    const tables = new Map<string, number>();
    for (const table of largest) tables.set(table, await of(`select pg_total_relation_size('${table}')`));
    const text = await of(textOf((column) => `octet_length(${column})`));
    return { whole: await of('select pg_database_size(current_database())'), text, tables };
  } finally {
    await client.end();
  }
}

async function grow(name: string, databaseUrl: string | undefined, bar: number): Promise<Figure[]> {
  const dataDir = mkdtempSync(join(tmpdir(), 'nexus-bench-'));
  const platform = await startPlatform({ dataDir, ...(databaseUrl === undefined ? {} : { databaseUrl }) });
  const client = createClient(platform.url, 50);
  const size = () => (databaseUrl === undefined ? sqliteSize(dataDir) : postgresSize(databaseUrl));
  const make = (count: number) =>
    inLanes(50, count, async () => {
      const text = await (await client.stream('/v1/agents/chat/stream', runRequest)).text();
      if (!text.includes('event: run.completed')) throw new Error(`a run did not complete: ${text.slice(-600)}`);
    });
  try {
    await client.putAgent();
    await make(first);
    const before = await size();
    await make(runs);
    const after = await size();
    const [whole, text] = [after.whole - before.whole, after.text - before.text];
    return [
      { name: `${name}: database per run`, value: whole / runs / 1024, unit: 'KB' },
      { name: `${name}: floor: text that must be kept of it`, value: text / runs / 1024, unit: 'KB' },
      ...[...after.tables].map(([table, bytes]) => ({
        name: `${name}: of the database, ${table}`,
        value: (bytes - (before.tables.get(table) ?? 0)) / runs / 1024,
        unit: 'KB',
      })),
      { name: `${name}: database / floor`, value: whole / text, unit: '', bar: { op: '<=', value: bar } },
    ];
  } finally {
    await client.close();
    await platform.close('SIGKILL');
    rmSync(dataDir, { recursive: true, force: true });
  }
}

const postgres = await acquirePostgres();
const figures = await grow('sqlite', undefined, 3.2);
if ('reason' in postgres) process.stderr.write(`not measured on Postgres: ${postgres.reason}\n`);
else {
  figures.push(...(await grow('postgres', postgres.url, 4.5)));
  await postgres.close();
}
report('kept', figures, [`${runs} runs after ${first}; indexes are part of it; on Postgres after a vacuum`]);
