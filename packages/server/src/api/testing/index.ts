/** Support for tests that need the API without an engine behind it. */
export { createFakeRunService } from './fake-run-service.ts';
export { startTestApi, type TestApi } from './test-api.ts';
