/** The door of transport: providers that are reached over HTTP. */
export { createTransport } from './http.ts';
export { type CountQuestion, createHttpProvider, type InputCounter, readModelList } from './http-provider.ts';
export { ProxyError } from './proxy.ts';
