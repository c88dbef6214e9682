/** The door of tokens: how many tokens a text, a message or a request stands for. */
export { estimateInputTokens, estimateTextTokens } from './estimate.ts';
export { ReceivedTokens } from './received.ts';
