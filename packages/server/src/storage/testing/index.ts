/** The door of storage for tests: the tables and columns that the queries know, to be compared with those of a database. */
export { tables } from '../schema.ts';
