/** The door of llm's helpers for tests. */
export { call, grant, recordGate } from './caller.ts';
export { keptAnswer, startRawServer } from './raw.ts';
export { makeRequest } from './requests.ts';
export { certificate, type Listener, listening, privateKey, startSecureServer } from './secure.ts';
export { startServer, until } from './servers.ts';
export { strictAnthropic, strictMistral, strictOpenAi } from './strict.ts';
