/** HTTP: from a socket to a route and back. */
export { createProblemMapper } from './problems.ts';
export { createHttpServer } from './server.ts';
