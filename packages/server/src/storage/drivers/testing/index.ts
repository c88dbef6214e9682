/** The door of the drivers for tests: what they make of queries, and Postgres without a store. */
export { createCompiler } from '../compile.ts';
export { createPostgresDialect, createSqliteDialect, postgresSets, sqliteSets } from '../dialects.ts';
export { openPostgres } from '../postgres.ts';
