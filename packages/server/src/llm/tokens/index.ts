/** The door of tokens: how many tokens a text, a message or a request stands for. */
export { estimateInputTokens, estimatePartTokens, estimateTextTokens } from './estimate.ts';
