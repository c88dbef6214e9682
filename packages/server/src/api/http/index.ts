/** HTTP: from a socket to a route and back. */
export { isLoopbackHost } from './guard.ts';
export { boundHost, portInUse } from './listen.ts';
export { createProblemMapper } from './problems.ts';
export { createHttpServer } from './server.ts';
