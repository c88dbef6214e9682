/** The door of transport: providers that are reached over HTTP. */
export { createHttpProvider } from './http-provider.ts';
