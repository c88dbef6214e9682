/** The door of the HTTP client. A door of its own: only what makes requests wants it. */
export { buildConnector, Pool, UndiciAgent } from './undici.ts';
