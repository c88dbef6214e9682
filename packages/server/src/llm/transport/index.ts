/** The door of transport: providers that are reached over HTTP. */
export { createTransport } from './http.ts';
export { type CountQuestion, createHttpProvider, type Discovery, type InputCounter } from './http-provider.ts';
export { nearestModel, readModelList } from './model-list.ts';
