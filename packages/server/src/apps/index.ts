/** The door of the composition roots. */
export { type AllInOne, type AllInOneOptions, migrateStore, startAllInOne } from './all-in-one.ts';
export { runDemo } from './demo/run-demo.ts';
