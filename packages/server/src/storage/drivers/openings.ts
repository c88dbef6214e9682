/** Why a database could not be opened, in words for whoever set it up: what is wrong, where, and what would be right. */
import { dictionary } from '@nexus-agent/protocol';
import { NexusError } from '#core';
import { property, sqlState } from './failures.ts';

type Code = 'config_invalid' | 'storage_unavailable';

interface Place {
  /** `host:port/database`, without what is secret. */
  readonly at: string;
  readonly host: string;
  readonly database: string;
  readonly user: string;
  readonly hasPassword: boolean;
}

function databasePlace(url: string): Place {
  const { hostname, port, pathname, username, password, searchParams } = new URL(url);
  const user = decodeURIComponent(username) || (process.env.PGUSER ?? 'the user of this process');
  const database = decodeURIComponent(pathname.slice(1)) || user;
  const host = `${searchParams.get('host') ?? hostname}:${port || 5432}`;
  return { at: `${host}/${database}`, host, database, user, hasPassword: password !== '' };
}

/** A pooler in transaction mode refuses settings with which a session is to begin. */
export function isPoolerRefusal(error: unknown): boolean {
  return causes(error).some((cause) => sqlState(cause) === '08P01');
}

const onPostgres: Readonly<Record<string, (place: Place, said: string) => readonly [Code, string]>> = dictionary({
  '08P01': ({ at }, said) => [
    'config_invalid',
    `what answers at ${at} is a pooler that refuses how this program speaks (${said}); connect to the database itself, or use pool_mode = session`,
  ],
  '28000': ({ at, user }, said) => [
    'config_invalid',
    `${at} does not let ${user} in (${said}); the database URL needs a user that exists and that pg_hba.conf admits from here`,
  ],
  '28P01': ({ at, user, hasPassword }) => [
    'config_invalid',
    `${at} refuses the password of ${user}; the database URL needs ${hasPassword ? 'the right one' : 'one'}: postgres://user:password@host:port/database`,
  ],
  '3D000': ({ host, database, user }) => [
    'config_invalid',
    `there is no database ${database} on ${host}; create it (create database "${database}" owner "${user}"), or name one that exists in the database URL`,
  ],
  '3F000': ({ at }) => ['config_invalid', `${at} has no schema to create tables in; create one (create schema public), or set search_path`],
  '42501': ({ at, user }, said) => [
    'config_invalid',
    `${user} may not do in ${at} what is needed (${said}); it must own the tables and may create some: grant usage, create on schema public to "${user}"`,
  ],
  '42704': ({ at }, said) => ['config_invalid', `${at} does not know a setting (${said}); Postgres 15 or newer is needed`],
  '25006': ({ at }) => [
    'storage_unavailable',
    `${at} is read-only, as a standby is; the database URL must name the server that takes writes (with several hosts: the primary)`,
  ],
  '53100': ({ at }) => ['storage_unavailable', `${at} has no disk space left; free some and start again`],
  '53300': ({ at }) => [
    'storage_unavailable',
    `${at} takes no more connections; raise max_connections there, or lower postgres.maxConnections of the processes`,
  ],
  '55P03': ({ at }) => [
    'storage_unavailable',
    `${at} is being brought up to date by another process, or something holds its tables; wait, or raise postgres.migrationTimeoutMs`,
  ],
  '57014': ({ at }) => [
    'storage_unavailable',
    `${at} took too long to be brought up to date, and is as it was before; raise postgres.migrationTimeoutMs`,
  ],
  '57P03': ({ at }) => ['storage_unavailable', `${at} is starting up or shutting down; start again in a moment`],
});

/** The error of opening Postgres. One that says already what is wrong is passed on. */
export function explainPostgres(error: unknown, url: string): unknown {
  if (error instanceof NexusError && error.code === 'schema_too_new') return error;
  const place = databasePlace(url);
  const chain = causes(error);
  for (const cause of chain) {
    const state = sqlState(cause);
    const explain = state === undefined ? undefined : onPostgres[state];
    if (explain) {
      const [code, message] = explain(place, textOf(cause));
      return new NexusError(code, message, { cause: error });
    }
    if (state !== undefined)
      return new NexusError('storage_unavailable', `${place.at} refused: ${textOf(cause)} (${state})`, { cause: error });
  }
  return explainWay(error, chain, place);
}

/** The server was not reached, or not understood. */
function explainWay(error: unknown, chain: readonly unknown[], { at, host }: Place): unknown {
  const says = (pattern: RegExp) => chain.some((cause) => pattern.test(textOf(cause)));
  const code = chain
    .filter((cause) => !(cause instanceof NexusError))
    .map((cause) => property(cause, 'code'))
    .find((each) => typeof each === 'string');
  if (says(/password must be a (non-empty )?string/i)) {
    return new NexusError('config_invalid', `${at} asks for a password, and the database URL has none`, { cause: error });
  }
  if (says(/does not support SSL/)) {
    return new NexusError('config_invalid', `${host} speaks no TLS; leave sslmode out of the database URL, or turn TLS on there`, {
      cause: error,
    });
  }
  if (says(/certificate|self.signed|altname/i)) {
    const message = `the certificate of ${host} is not trusted (${code ?? 'TLS'}); name the authority with sslrootcert in the database URL`;
    return new NexusError('config_invalid', message, { cause: error });
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new NexusError('storage_unavailable', `the host of ${at} has no address (${code}); correct the database URL`, { cause: error });
  }
  if (typeof code === 'string' && code.startsWith('E')) {
    return new NexusError('storage_unavailable', `no database answers at ${at} (${code}); start it, or correct the database URL`, {
      cause: error,
    });
  }
  if (error instanceof NexusError && error.code === 'storage_unavailable') {
    const said = error.message.replace(/; try again$/, '');
    return new NexusError('storage_unavailable', `${at}: ${said}; see that it is a Postgres and that it can be reached from here`, {
      cause: error,
    });
  }
  return error;
}

const onSqlite: Readonly<Record<number, (path: string) => readonly [Code, string]>> = {
  3: (path) => ['config_invalid', `${path} may not be opened by this user; the data directory must be this user's`],
  8: (path) => ['config_invalid', `${path} is read-only; this user must be able to write it and the folder it lies in`],
  10: (path) => ['storage_unavailable', `${path} cannot be read or written; see to the disk it lies on`],
  11: (path) => ['config_invalid', `${path} is damaged; put a backup in its place`],
  13: (path) => ['storage_unavailable', `there is no disk space left for ${path}; free some and start again`],
  14: (path) => ['config_invalid', `${path} cannot be opened; it must be a file, in a folder that this user can read and write`],
  26: (path) => ['config_invalid', `${path} is not a database, or is damaged; move it away, or put a backup in its place`],
};

const onFolder: Readonly<Record<string, readonly [Code, string]>> = dictionary({
  EACCES: ['config_invalid', 'may not be made or written by this user; grant it, or name another'],
  EPERM: ['config_invalid', 'may not be made or written by this user; grant it, or name another'],
  EROFS: ['config_invalid', 'lies on a read-only file system; name another'],
  EEXIST: ['config_invalid', 'is a file; name a folder'],
  ENOTDIR: ['config_invalid', 'lies in a file; name a folder'],
  ENOSPC: ['storage_unavailable', 'lies on a full disk; free some space and start again'],
  EDQUOT: ['storage_unavailable', 'is over the quota of this user; free some space and start again'],
});

/** The error of opening SQLite in a folder. One that says already what is wrong is passed on. */
export function explainSqlite(error: unknown, { path, folder }: { readonly path: string; readonly folder: string }): unknown {
  if (error instanceof NexusError && error.code === 'schema_too_new') return error;
  for (const cause of causes(error)) {
    const result = property(cause, 'errcode');
    const explained = typeof result === 'number' ? onSqlite[result & 0xff]?.(path) : undefined;
    if (explained !== undefined) return new NexusError(explained[0], explained[1], { cause: error });
  }
  return explainDataDir(error, folder);
}

/** The error of making or writing the data directory; any other is passed on. */
function explainDataDir(error: unknown, folder: string): unknown {
  const code = property(error, 'code');
  const explained = typeof code === 'string' ? onFolder[code] : undefined;
  if (explained === undefined) return error;
  return new NexusError(explained[0], `the data directory ${folder} ${explained[1]} (${code})`, { cause: error });
}

/** The error and what it came from. */
function causes(error: unknown): readonly unknown[] {
  const chain: unknown[] = [];
  for (let each = error; each !== undefined && chain.length < 10; each = each instanceof Error ? each.cause : undefined) {
    chain.push(each);
    // Several addresses of one host were tried.
    if (each instanceof AggregateError) chain.push(...each.errors);
  }
  return chain;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
