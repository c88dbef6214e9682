/** The door of the composition roots. */
export { type AllInOne, type AllInOneOptions, migrateDatabase, startAllInOne } from './all-in-one.ts';
export { runDemo } from './demo/run-demo.ts';
