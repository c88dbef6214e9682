import type { AssistantPart, ErrorInfo, FinishReason, Message, Usage } from '@nexus-agent/protocol';

/** A model of a provider, as routing and pricing see it. */
export interface ModelTarget {
  readonly provider: string;
  readonly model: string;
  readonly contextTokens: number;
  readonly maxOutputTokens: number;
  readonly simulator: boolean;
  /** Null: no price is known. What then happens is a policy decision (default: deny), never zero. */
  readonly price: ModelPrice | null;
  /** Lower prices for smaller calls, by rising size: the first that fits is exact. Absent: `price` holds for every size. */
  readonly priceTiers?: readonly PriceTier[];
}

/** The price of calls of at most so many input tokens. */
export interface PriceTier {
  readonly upToInputTokens: number;
  readonly price: ModelPrice;
}

/** Integer micro-USD per million tokens; the worst tier that a call of this size can reach. */
export interface ModelPrice {
  readonly inputMicroUsdPerMillion: number;
  readonly outputMicroUsdPerMillion: number;
  readonly cacheReadMicroUsdPerMillion: number;
  readonly cacheWriteMicroUsdPerMillion: number;
}

export interface ToolSpec {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Record<string, unknown>;
}

/** A request in the platform's own terms; a codec turns it into a provider's. Tool order is kept: prompt caches depend on it. */
export interface ModelRequest {
  readonly system: string;
  readonly messages: readonly Message[];
  readonly tools: readonly ToolSpec[];
  readonly maxOutputTokens: number;
  readonly temperature?: number;
  /** JSON Schema that the answer must fit. */
  readonly outputSchema?: Record<string, unknown>;
  /** Stable over attempts of one call; sent where a provider supports it. */
  readonly idempotencyKey: string;
}

/**
 * What a stream yields. Exactly one terminal part ends it: `completed` or `failed`. `attempt.failed` and
 * `attempt.started` appear only before the first delta: once text was seen there is no other attempt.
 */
export type ModelPart =
  | { readonly type: 'attempt.started'; readonly target: ModelTarget; readonly attempt: number }
  | { readonly type: 'text.delta'; readonly text: string }
  | { readonly type: 'reasoning.delta'; readonly text: string }
  | {
      readonly type: 'completed';
      readonly target: ModelTarget;
      readonly attempt: number;
      /** In order of arrival; the texts are exactly the concatenated deltas. */
      readonly content: readonly AssistantPart[];
      readonly finishReason: FinishReason;
      readonly usage: Usage;
      readonly timeToFirstTokenMs: number | null;
      readonly durationMs: number;
    }
  /** `usage` is the best knowledge of what the failed attempt used (from the provider, else counted from what was streamed). */
  | {
      readonly type: 'failed';
      readonly target: ModelTarget | null;
      readonly attempt: number;
      readonly error: ErrorInfo;
      readonly usage: Usage;
    };

/** What the caller grants an attempt: the clamped `max_tokens` and the deadline that the budget affords. */
export type AttemptGrant =
  | { readonly type: 'granted'; readonly maxOutputTokens: number; readonly timeoutMs: number }
  /** Ends the stream with `failed` and this error; no other target is tried when `final`. */
  | { readonly type: 'refused'; readonly error: ErrorInfo; readonly final: boolean };

/**
 * The caller's hold on every attempt (retry and fallback alike): nothing is sent before `begin` granted it, and each
 * attempt that was granted but did not complete is reported to `failed` before the next one begins.
 */
export interface AttemptGate {
  begin(attempt: {
    readonly target: ModelTarget;
    readonly attempt: number;
    readonly estimatedInputTokens: number;
    readonly previous: { readonly target: ModelTarget; readonly error: ErrorInfo } | null;
  }): Promise<AttemptGrant>;
  failed(attempt: {
    readonly target: ModelTarget;
    readonly attempt: number;
    readonly error: ErrorInfo;
    readonly usage: Usage;
    readonly sent: boolean;
  }): Promise<void>;
}

export interface StreamOptions {
  /** Aborting ends the upstream request at once; the stream ends with `failed`, code `cancelled`. */
  readonly signal: AbortSignal;
  readonly gate: AttemptGate;
  /** Targets in order of preference, from {@link LanguageModels.resolve}. */
  readonly targets: readonly ModelTarget[];
  /** W3C traceparent for the request. */
  readonly traceparent?: string;
}

/** The LLM service as the engine sees it; later also over gRPC. */
export interface LanguageModels {
  /** Targets for model references (`provider/model` or a bare model name). Throws `model_not_found`, naming what is configured. */
  resolve(refs: readonly string[]): Promise<readonly ModelTarget[]>;
  list(): Promise<readonly ModelTarget[]>;
  /** Upper estimate of the input tokens of a request; never less than what providers count for plain text. */
  estimateInputTokens(request: Pick<ModelRequest, 'system' | 'messages' | 'tools' | 'outputSchema'>): number;
  /** Never throws: failures are a `failed` part. */
  stream(request: ModelRequest, options: StreamOptions): AsyncIterable<ModelPart>;
  close(): Promise<void>;
}
