/** The whole platform for tests: the real composition on the embedded store, with the simulator as its model. */

export { type Chance, createChance } from '../simulation/chance.ts';
export { createRowChecks } from '../simulation/check-rows.ts';
export { Violation } from '../simulation/violation.ts';
export { createKeptLog } from './log.ts';
export { type LogEvent, startTestPlatform, type TestPlatform } from './platform.ts';
