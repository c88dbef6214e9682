/** OpenAI Chat Completions on the wire: the names that both halves of the dialect write and read. */
export const chatPath = '/chat/completions';

/** The data of the event that ends a stream. */
export const endMark = '[DONE]';

export interface OpenAiRequest {
  readonly model: string;
  readonly messages: readonly OpenAiMessage[];
  readonly tools?: readonly OpenAiTool[];
  readonly tool_choice?: 'none';
  readonly max_tokens?: number;
  readonly max_completion_tokens?: number;
  readonly temperature?: number;
  readonly response_format?: {
    readonly type: 'json_schema';
    readonly json_schema: { readonly name: string; readonly schema: Record<string, unknown>; readonly strict?: true };
  };
  readonly stream: boolean;
  readonly stream_options?: { readonly include_usage: boolean };
}

export type OpenAiMessage =
  | { readonly role: 'system' | 'developer'; readonly content: string }
  | { readonly role: 'user'; readonly content: string | readonly OpenAiPart[] }
  | {
      readonly role: 'assistant';
      readonly content: string | null;
      /** Not of OpenAI: servers of open models want their thinking back under the name that they gave it in. */
      readonly reasoning_content?: string;
      readonly reasoning?: string;
      readonly tool_calls?: readonly OpenAiToolCall[];
    }
  | { readonly role: 'tool'; readonly tool_call_id: string; readonly content: string };

export type OpenAiPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image_url'; readonly image_url: { readonly url: string } };

export interface OpenAiTool {
  readonly type: 'function';
  readonly function: { readonly name: string; readonly description?: string; readonly parameters: Record<string, unknown> };
}

export interface OpenAiToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A piece of a tool call: the first of each has id and name, all have a part of the arguments. */
export interface OpenAiToolCallDelta {
  readonly index: number;
  readonly id?: string;
  readonly type?: 'function';
  readonly function: { readonly name?: string; readonly arguments: string };
}

export interface OpenAiDelta {
  readonly role?: 'assistant';
  readonly content?: string;
  readonly refusal?: string;
  /** Not of OpenAI: servers of open models stream their thinking under one of these names. */
  readonly reasoning_content?: string;
  readonly reasoning?: string;
  readonly tool_calls?: readonly OpenAiToolCallDelta[];
}

export interface OpenAiChoice {
  readonly index: number;
  readonly delta: OpenAiDelta;
  readonly finish_reason: string | null;
}

export interface OpenAiChunk {
  readonly id: string;
  readonly choices: readonly OpenAiChoice[];
  readonly usage?: OpenAiUsage | null;
  readonly error?: unknown;
}

export interface OpenAiUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number; readonly cache_write_tokens?: number };
  readonly completion_tokens_details?: { readonly reasoning_tokens?: number };
  /** Of DeepSeek. */
  readonly prompt_cache_hit_tokens?: number;
}
