/** The door of dialects: wire formats, each with the half that speaks to providers and the half that is spoken to us. */
export { anthropicMessagesInbound } from './anthropic-messages/inbound.ts';
export { type AnthropicMessagesOptions, anthropicRefusals, createAnthropicMessages } from './anthropic-messages/upstream.ts';
export { createOmissions, type FeatureRefusal, type Omissions, type RequestFeature, refusedFeature } from './features.ts';
export type {
  InboundAnswer,
  InboundCall,
  InboundDialect,
  InboundRequest,
  InboundTool,
  InboundTurn,
  RenderContext,
  Rendered,
} from './inbound.ts';
export { asRecord, asString } from './json.ts';
export { openAiChatInbound } from './openai-chat/inbound.ts';
export { createOpenAiChat, openAiRefusals } from './openai-chat/upstream.ts';
export { providerError } from './provider-error.ts';
export type { StreamDecoder, UpstreamDialect } from './upstream.ts';
