/** OpenAI Chat Completions on the wire: the names that both halves of the dialect write and read. */
export const path = '/chat/completions';

/** The data of the event that ends a stream. */
export const endMark = '[DONE]';

export interface WireRequest {
  readonly model: string;
  readonly messages: readonly WireMessage[];
  readonly tools?: readonly WireTool[];
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

export type WireMessage =
  | { readonly role: 'system' | 'developer'; readonly content: string }
  | { readonly role: 'user'; readonly content: string | readonly WirePart[] }
  | { readonly role: 'assistant'; readonly content: string | null; readonly tool_calls?: readonly WireToolCall[] }
  | { readonly role: 'tool'; readonly tool_call_id: string; readonly content: string };

export type WirePart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image_url'; readonly image_url: { readonly url: string } };

export interface WireTool {
  readonly type: 'function';
  readonly function: { readonly name: string; readonly description?: string; readonly parameters: Record<string, unknown> };
}

export interface WireToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A piece of a tool call: the first of each has id and name, all have a part of the arguments. */
export interface WireToolCallDelta {
  readonly index: number;
  readonly id?: string;
  readonly type?: 'function';
  readonly function: { readonly name?: string; readonly arguments: string };
}

export interface WireDelta {
  readonly role?: 'assistant';
  readonly content?: string;
  readonly refusal?: string;
  /** Not of OpenAI: servers of open models stream their thinking under one of these names. */
  readonly reasoning_content?: string;
  readonly reasoning?: string;
  readonly tool_calls?: readonly WireToolCallDelta[];
}

export interface WireChoice {
  readonly index: number;
  readonly delta: WireDelta;
  readonly finish_reason: string | null;
}

export interface WireChunk {
  readonly id: string;
  readonly choices: readonly WireChoice[];
  readonly usage?: WireUsage | null;
  readonly error?: unknown;
}

export interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number; readonly cache_write_tokens?: number };
  readonly completion_tokens_details?: { readonly reasoning_tokens?: number };
  /** Of DeepSeek. */
  readonly prompt_cache_hit_tokens?: number;
}
