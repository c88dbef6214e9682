/** The door of storage for tests: the tables that the queries know, and the first schema in the words of each database, to be compared with those of a database. */
export { tables } from '#storage/tables';
export { createPostgresDialect, createSqliteDialect } from '../drivers/dialects.ts';
export { initial } from '../migrations/001-initial.ts';
