/** Runs as server-sent events. */
export { parseCursor } from './cursor.ts';
export { createStreamServer } from './server.ts';
export type { StreamRequest } from './writer.ts';
