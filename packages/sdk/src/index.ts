/** The door of the client. */
export {
  type CallOptions,
  type CreateOptions,
  createNexusClient,
  type NexusClient,
  type NexusClientOptions,
  type PageOptions,
  type UsageRow,
} from './client.ts';
export { NexusApiError } from './errors.ts';
export type { StreamOptions } from './run-stream.ts';
export { collectText, createTextAssembler, type TextAssembler, type TextChange } from './text.ts';
export type { RetryOptions } from './transport.ts';
