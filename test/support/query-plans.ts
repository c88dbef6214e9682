import { AsyncLocalStorage } from 'node:async_hooks';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import pg from 'pg';
import {
  createCompiler,
  createPostgresDialect,
  createSqliteDialect,
  postgresSets,
  sqliteSets,
} from '../../packages/server/src/storage/drivers/testing/index.ts';
import type { Store } from '../../packages/server/src/storage/index.ts';
import type { Driver, Program, Request, Value } from '../../packages/server/src/storage/program/index.ts';
import type { DatabaseLocation } from './stores.ts';

export interface IssuedStatement {
  readonly sql: string;
  readonly values: readonly (Value | readonly string[])[];
  /** Methods of the store that issued it. */
  readonly methods: Set<string>;
}

/** So many sets of values are looked at for one text. */
const valuesOfText = 8;

/** Hears every statement that a store issues, once for each text, and which of its methods were called. */
export function createListener(dialectName: 'sqlite' | 'postgres') {
  const dialect = dialectName === 'sqlite' ? createSqliteDialect() : createPostgresDialect();
  const compile = createCompiler(dialect.builder);
  const current = new AsyncLocalStorage<string>();
  const issued = new Map<string, IssuedStatement>();
  const called = new Set<string>();

  function note(sql: string, values: readonly (Value | readonly string[])[]): void {
    // Lists of values differ in length only.
    const key = sql.replace(/(\?|\$\d+)(, (\?|\$\d+))+/g, '?…');
    // What is looked for may decide how: a few values of each text are kept.
    const place = Array.from({ length: valuesOfText }, (_, index) => `${index} ${key}`);
    const same = (name: string) => JSON.stringify(issued.get(name)?.values) === JSON.stringify(values);
    const name = place.find((each) => !issued.has(each) || same(each)) ?? `0 ${key}`;
    const found = issued.get(name) ?? { sql, values, methods: new Set() };
    found.methods.add(current.getStore() ?? 'no method');
    issued.set(name, found);
  }

  function hear(request: Request): unknown {
    switch (request.type) {
      case 'statement': {
        const { sql, bind } = compile(request.statement);
        return note(sql, bind(request.params));
      }
      case 'query': {
        const { sql, parameters } = request.build(dialect.builder).compile();
        return note(sql, parameters as Value[]); // built from the values of columns
      }
      case 'raw':
        return note(request.sql, request.params);
      case 'insert':
      case 'add':
      case 'update': {
        if (dialectName === 'postgres') return note(postgresSets[request.type](request as never), [JSON.stringify(request.rows)]);
        const { sql, columns } = sqliteSets[request.type](request as never);
        return note(
          sql,
          columns.map((name) => request.rows[0]?.[name] ?? null),
        );
      }
      case 'select':
        if (dialectName === 'postgres') return note(postgresSets.select(request), [request.tenantId, request.keys]);
        return note(sqliteSets.select(request), [request.tenantId, request.keys[0] ?? '']);
      case 'all':
        return request.requests.forEach(hear);
      default:
        return undefined;
    }
  }

  function* overhear<R>(program: Program<R>): Program<R> {
    let step = program.next();
    while (!step.done) {
      hear(step.value);
      step = program.next(yield step.value);
    }
    return step.value;
  }

  return {
    issued: issued as ReadonlyMap<string, IssuedStatement>,
    called: called as ReadonlySet<string>,
    onDriver: (driver: Driver): Driver => ({
      ...driver,
      read: (start, limits) => driver.read(() => overhear(start()), limits),
      write: (start, limits) => driver.write(() => overhear(start()), limits),
    }),
    onStore: (store: Store): Store =>
      new Proxy(store, {
        get(target, name) {
          const member: unknown = Reflect.get(target, name);
          if (typeof member !== 'function') return member;
          return (...args: unknown[]) => {
            called.add(String(name));
            return current.run(String(name), () => member.apply(target, args) as unknown);
          };
        },
      }),
  };
}

/** What a database says that it does for a statement: a line for each step. */
export interface Explainer {
  explain(statement: IssuedStatement): Promise<readonly string[]>;
  close(): Promise<void>;
}

export async function openExplainer({ url, dataDir = '' }: DatabaseLocation): Promise<Explainer> {
  if (url === undefined) {
    const database = new DatabaseSync(join(dataDir, 'nexus.db'));
    return {
      async explain({ sql, values }) {
        const rows = database.prepare(`explain query plan ${sql}`).all(...(values as Value[])); // SQLite is given no lists
        return rows.map((row) => String(row.detail));
      },
      close: async () => database.close(),
    };
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  // Of a table that is small here no index is worth while: what counts is that there is one that serves.
  await client.query('set enable_seqscan = off');
  return {
    async explain({ sql, values }) {
      const { rows } = await client.query({ text: `explain (format json) ${sql}`, values: [...values] });
      const [{ Plan: plan }] = (rows[0] as { 'QUERY PLAN': [{ Plan: PlanNode }] })['QUERY PLAN']; // as its manual has it
      return stepsOf(plan);
    },
    close: () => client.end(),
  };
}

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Index Cond'?: string;
  readonly Filter?: string;
  readonly 'Plan Rows': number;
  readonly Plans?: readonly PlanNode[];
}

/** In words that {@link faultOf} reads, as SQLite would say it. */
function stepsOf(node: PlanNode): string[] {
  const below = (node.Plans ?? []).flatMap(stepsOf);
  const { 'Node Type': type, 'Relation Name': table, 'Index Name': index, 'Index Cond': condition = '', Filter: filter } = node;
  const filtered = filter === undefined ? '' : ` FILTER ${filter}`;
  if (type === 'Seq Scan') return [`SCAN ${table}${filtered}`, ...below];
  if (type.startsWith('Index'))
    return [`${condition === '' ? 'SCAN' : 'SEARCH'} ${table} USING INDEX ${index} (${condition})${filtered}`, ...below];
  if (type === 'Bitmap Index Scan') return [`SEARCH ? USING INDEX ${index} (${condition})`, ...below];
  if (type === 'Sort') return [`USE TEMP B-TREE FOR ORDER BY, ${node.Plans?.[0]?.['Plan Rows'] ?? 0} rows`, ...below];
  return below;
}

/** Tables that have a row for everything that ever happened, or that somebody made. */
const growing = [
  ...['runs', 'sessions', 'run_events', 'ledger_entries', 'usage_days', 'policy_decisions', 'reservations', 'approvals', 'budgets'],
  ...['idempotency_keys', 'removals', 'files', 'file_trees', 'file_versions', 'blobs', 'blob_pieces', 'contents', 'api_keys'],
];

/** Partial indexes that hold what is at work, what people set, or what an earlier version left: read whole, they are as large as that. */
const small = new Set([
  ...[
    'runs_live',
    'runs_due',
    'runs_due_queued',
    'runs_due_tenant',
    'runs_open',
    'runs_lease_tenant',
    'runs_cancel',
    'runs_suspect',
    'runs_queued',
  ],
  ...['approvals_pending', 'approvals_open', 'reservations_open', 'reservations_in_flight', 'budgets_shared', 'budgets_inherited'],
  ...['ledger_entries_unfolded', 'ledger_entries_user'],
]);

/** Rows that are sorted in no time. */
const fewRows = 2_000;

/** Why a plan is not that of a fast statement; null when it is. */
export function faultOf({ sql }: Pick<IssuedStatement, 'sql'>, steps: readonly string[]): string | null {
  const tableOf = (name: string) => {
    if (growing.includes(name)) return name;
    const alias = new RegExp(`(?:from|join|update|into)\\s+"?(\\w+)"?\\s+(?:as\\s+)?"?${name}"?(?![\\w.])`, 'i').exec(sql)?.[1];
    return alias !== undefined && growing.includes(alias) ? alias : undefined;
  };
  const touchesGrowing = growing.some((table) => new RegExp(`\\b${table}\\b`).test(sql));
  if (!touchesGrowing) return null;
  // What is found by such an index is sorted in no time.
  const found = steps.filter((step) => /^(SCAN|SEARCH) /.test(step) && / INDEX /.test(step));
  const isOfFew = found.length > 0 && found.every((step) => small.has(/INDEX (\w+)/.exec(step)?.[1] ?? ''));
  for (const step of steps) {
    const sorted = /^USE TEMP B-TREE FOR (ORDER BY|GROUP BY|DISTINCT)(?:, (\d+) rows)?/.exec(step);
    if (sorted !== null && !isOfFew && Number(sorted[2] ?? fewRows + 1) > fewRows) return `sorts: ${step}`;
    const [, how, name = ''] = /^(SCAN|SEARCH) (\S+)/.exec(step) ?? [];
    const index = /INDEX (\w+)/.exec(step)?.[1];
    const table = tableOf(name) ?? (name === '?' ? name : undefined);
    if (how === undefined || table === undefined || (index !== undefined && small.has(index))) continue;
    if (how === 'SCAN') return `reads all of ${table}: ${step}`;
    const only =
      /\((?:\(?(?:\w+\.)?tenant_id\)? ?= ?[^)]*)\)*$/.test(step.replace(/ FILTER .*/, '').replace(/::text/g, '')) &&
      !/ AND /.test(step.replace(/ FILTER .*/, ''));
    const passesOver = / FILTER /.test(step) || !isWholeTenant(sql);
    if (only && passesOver) return `passes over a whole tenant of ${table}: ${step}`;
  }
  return null;
}

/** Nothing but the tenant is asked for, beside what the index of an order has as its own condition, and no more than a page of it. */
function isWholeTenant(sql: string): boolean {
  return /where (\w+\.)?"?tenant_id"? = (\?|\$1)( and "kind" != 'client_result')?\s+order by .* limit/is.test(sql);
}
