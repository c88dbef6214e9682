/** The door of programs: how queries are written, once for both databases, and what a driver must do with them. */
export { type ClockReading, type ClockWatch, createClockWatch } from './clock-watch.ts';
export type { Driver, DriverLimits } from './driver.ts';
export { beyond, cutPage, fittingRows, startOf } from './paging.ts';
export {
  type DialectParts,
  databaseNow,
  type Params,
  type Program,
  passGate,
  type QueryBuilder,
  type Request,
  type Result,
  type Statement,
  together,
  type Value,
} from './program.ts';
export { addMany, change, insertMany, queriesOn, run, selectMany, updateMany } from './queries.ts';
export { type AnyTable, columnsOf, type DatabaseOf, defineTable, type Row } from './table.ts';
export { byKey, isStorable, json, jsonNullable, parse, parseNullable, storable } from './values.ts';
