/** The door of tokens: how many tokens a text, a message or a request stands for. */
export { boundJsonTokens } from './bound.ts';
export { InputCounts } from './counts.ts';
export { estimateInputTokens, estimateMessageTokens, estimateTextTokens } from './estimate.ts';
export { leastInputTokens } from './least.ts';
export { measureMessage } from './measure.ts';
export { mostExcessTokens, ReceivedTokens } from './received.ts';
