/** The whole platform for tests: the real composition on the embedded store, with the simulator as its model. */
export { startTestPlatform, type TestPlatform } from './platform.ts';
