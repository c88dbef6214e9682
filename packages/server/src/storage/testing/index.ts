/** The door of storage for tests: the tables that the queries know, and all schemas, to be compared with those of a database. */
export { tables } from '#storage/tables';
export { initial } from '../migrations/001-initial.ts';
export { migrations } from '../migrations/list.ts';
