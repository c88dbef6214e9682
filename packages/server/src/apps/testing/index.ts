/** The whole platform for tests: the real composition on the embedded store, with the simulator as its model. */
export { createKeptLog } from './log.ts';
export { type LogEvent, startTestPlatform, type TestPlatform } from './platform.ts';
