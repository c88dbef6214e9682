import type { AssistantPart, AssumedCount, ErrorInfo, FinishReason, Usage } from '@nexus-agent/protocol';
import type { ModelRequest } from './request.ts';
import type { ModelTarget } from './target.ts';

export type DeltaKind = 'text' | 'reasoning';

/** A whole answer. */
export interface Answer {
  /** In order of arrival; the texts are exactly the concatenated deltas. */
  readonly content: readonly AssistantPart[];
  readonly finishReason: FinishReason;
  /** The server went on beyond the limit that it was given, and was stopped: the content is what had come. */
  readonly overran?: true;
}

/** What an attempt yields. Exactly one terminal part ends it: `completed` or `failed`. */
export type ModelPart =
  | { readonly type: 'text.delta'; readonly text: string }
  | { readonly type: 'reasoning.delta'; readonly text: string }
  /** So many output tokens have come at most, arguments of tools included. Now and then, and of models that show all they write only. */
  | { readonly type: 'progress'; readonly outputTokens: number }
  | (Answer & {
      readonly type: 'completed';
      readonly usage: Usage;
      /** Counts of `usage` that the provider did not give, or gave lower than they can be: the most that is possible stands in their place. */
      readonly assumed?: readonly AssumedCount[];
      /** The server read less than it was sent, and took at most so many tokens: what it has forgotten is to be summarised. */
      readonly contextTokens?: number;
      readonly timeToFirstTokenMs: number | null;
      readonly durationMs: number;
    })
  | {
      readonly type: 'failed';
      readonly error: ErrorInfo;
      /** The least wait that the provider asked for; null when it did not. */
      readonly retryAfterMs: number | null;
      /** The best knowledge of what the attempt used: from the provider, else counted from what was streamed. */
      readonly usage: Usage;
      /** As in `completed`. */
      readonly assumed?: readonly AssumedCount[];
      /** The request reached the wire: the provider may charge for it. */
      readonly sent: boolean;
      /** Of a request that was too long: so many tokens of a request and its answer the model takes, as far as is known now. */
      readonly contextTokens?: number;
    };

/**
 * For whom something is asked. What a server says to one may have been brought about by what that one sent: it holds for the requests of
 * the same tenant, and for no others. All that say nothing are one.
 */
export interface ForTenant {
  readonly tenantId?: string;
}

/** One attempt at one target. */
export interface AttemptMessage extends ForTenant {
  readonly target: ModelTarget;
  readonly request: ModelRequest;
  /** The most that the request can be charged for as input: what is charged when nobody says how much it was. */
  readonly inputTokens: number;
  /** Sent as the provider's limit; never more than the target's own. */
  readonly maxOutputTokens: number;
  /** Deadline of the whole attempt, from when its first part is asked for. */
  readonly timeoutMs: number;
  /** W3C traceparent for the request. */
  readonly traceparent?: string;
}

/** How an attempt at a target ended without an answer. */
export interface AttemptFailure {
  readonly target: ModelTarget;
  readonly error: ErrorInfo;
  /** As the attempt's `failed` part says. */
  readonly retryAfterMs: number | null;
  /** The caller did not let it begin: the target is passed over, and nothing is known of its health. */
  readonly refused: boolean;
}

/** What was tried of a call so far, by a caller who wants to try again. */
export interface NextQuestion {
  /** In order of preference, each once, from {@link ModelService.resolve}. The first attempt goes to the first. */
  readonly targets: readonly ModelTarget[];
  /** Of every attempt of this call, in their order. */
  readonly failures: readonly AttemptFailure[];
  /** Left of the deadline of the last attempt that began. */
  readonly remainingMs: number;
  /** The last attempt gave text or reasoning that may have been shown. */
  readonly sawText: boolean;
}

export type NextAdvice =
  /** Wait for `delayMs`, then try this target. */
  | { readonly type: 'attempt'; readonly target: ModelTarget; readonly delayMs: number }
  /** The last failure stands. */
  | { readonly type: 'none' };

/**
 * The LLM service, in this process or in another: every message is plain JSON data, every answer a promise or an async
 * iterable, and nothing of the caller is called back. It makes attempts and says which one is worth making next; deciding,
 * paying for and counting them is the caller's.
 */
export interface ModelService {
  /**
   * Targets for model references (`provider/model` or a bare model name), as far as they are known by who asks. Rejects with
   * `model_not_found`, naming what is configured.
   */
  resolve(refs: readonly string[], by?: ForTenant): Promise<readonly ModelTarget[]>;
  list(): Promise<readonly ModelTarget[]>;
  /**
   * The most input tokens that a request can have at a target by its tokenizer or by the provider's own counter, which may be asked
   * over the network; null when neither can tell. Never rejects; aborting the signal ends it with null.
   */
  countInput(
    message: Pick<AttemptMessage, 'target' | 'request'> & ForTenant,
    options: { readonly signal: AbortSignal },
  ): Promise<number | null>;
  /** What to try next; asked before every attempt but the first. Once text was seen there is no other attempt. */
  next(question: NextQuestion): Promise<NextAdvice>;
  /**
   * One attempt at one target; it begins when the first part is asked for. Never throws: failures are a `failed` part. Aborting
   * the signal ends the upstream request at once, and the attempt with `failed`, code `cancelled`; so does leaving the
   * iteration, also while a part is awaited. One part at a time may be asked for.
   */
  attempt(message: AttemptMessage, options: { readonly signal: AbortSignal }): AsyncIterable<ModelPart>;
  close(): Promise<void>;
}
