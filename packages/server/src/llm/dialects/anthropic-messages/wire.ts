/** Anthropic Messages on the wire: the names that both halves of the dialect write and read. */
export const messagesPath = '/messages';

export interface CacheMark {
  readonly cache_control?: { readonly type: 'ephemeral' };
}

export interface AnthropicRequest {
  readonly model: string;
  readonly max_tokens: number;
  readonly system?: string | readonly AnthropicBlock[];
  readonly messages: readonly AnthropicMessage[];
  readonly tools?: readonly AnthropicTool[];
  readonly tool_choice?: { readonly type: 'none' };
  readonly temperature?: number;
  readonly output_config?: { readonly format: { readonly type: 'json_schema'; readonly schema: unknown } };
  readonly thinking?: { readonly type: 'adaptive' } | { readonly type: 'enabled'; readonly budget_tokens: number };
  readonly stream: boolean;
}

export interface AnthropicMessage {
  readonly role: 'user' | 'assistant';
  readonly content: string | readonly AnthropicBlock[];
}

export interface AnthropicTool {
  readonly name: string;
  readonly description?: string;
  readonly input_schema: Record<string, unknown>;
}

/** A piece of content, of requests and answers alike. */
export type AnthropicBlock = CacheMark &
  (
    | { readonly type: 'text'; readonly text: string }
    | { readonly type: 'image'; readonly source: AnthropicImageSource }
    | { readonly type: 'thinking'; readonly thinking: string; readonly signature: string }
    | { readonly type: 'redacted_thinking'; readonly data: string }
    | { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly input: unknown }
    | {
        readonly type: 'tool_result';
        readonly tool_use_id: string;
        readonly content: string | readonly AnthropicBlock[];
        readonly is_error?: boolean;
      }
  );

export type AnthropicImageSource =
  | { readonly type: 'url'; readonly url: string }
  | { readonly type: 'base64'; readonly media_type: string; readonly data: string };

export type AnthropicDelta =
  | { readonly type: 'text_delta'; readonly text: string }
  | { readonly type: 'thinking_delta'; readonly thinking: string }
  | { readonly type: 'signature_delta'; readonly signature: string }
  | { readonly type: 'input_json_delta'; readonly partial_json: string };

export interface AnthropicStop {
  readonly stop_reason: string | null;
  readonly stop_sequence: string | null;
}

export type AnthropicEvent =
  | { readonly type: 'message_start'; readonly message: Record<string, unknown> & { readonly usage: Partial<AnthropicUsage> } }
  | { readonly type: 'ping' }
  | { readonly type: 'content_block_start'; readonly index: number; readonly content_block: AnthropicBlock }
  | { readonly type: 'content_block_delta'; readonly index: number; readonly delta: AnthropicDelta }
  | { readonly type: 'content_block_stop'; readonly index: number }
  | { readonly type: 'message_delta'; readonly delta: AnthropicStop; readonly usage: Partial<AnthropicUsage> }
  | { readonly type: 'message_stop' }
  | { readonly type: 'error'; readonly error: { readonly type: string; readonly message: string } };

/** `input_tokens` are those beside the cache. The counts of a stream are cumulative: later ones replace earlier ones. */
export interface AnthropicUsage {
  readonly input_tokens: number;
  readonly cache_creation_input_tokens: number;
  readonly cache_read_input_tokens: number;
  readonly output_tokens: number;
  readonly output_tokens_details?: { readonly thinking_tokens?: number; readonly reasoning_tokens?: number };
}
