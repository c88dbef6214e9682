/** The door of attempt: one attempt at one target, and what a provider must be for it. */
export { Attempt } from './attempt.ts';
export type { Provider, ProviderCall, ProviderEvents, ProviderStream } from './provider.ts';
