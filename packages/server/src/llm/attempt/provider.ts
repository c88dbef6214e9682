import type { Usage } from '@nexus-agent/protocol';
import type { NexusError } from '#core';
import type { Answer, DeltaKind, ForTenant, ModelPrice, ModelRequest, ModelTarget } from '#llm/contract';

export interface ProviderCall extends ForTenant {
  readonly model: string;
  readonly request: ModelRequest;
  readonly maxOutputTokens: number;
  /** Deadline of the whole call. */
  readonly timeoutMs: number;
  readonly traceparent?: string;
}

/** What is known of a call so far. */
export interface Progress {
  /** The request reached the wire: the provider may charge for it. */
  readonly sent: boolean;
  /** From the provider; null when it did not say. */
  readonly usage: Usage | null;
  /** That account is of all that has come of the answer, and not of the prompt or a part of it alone. */
  readonly accounted: boolean;
  /** Nothing more of the answer is to come. */
  readonly final: boolean;
  /** The provider had begun to answer: it has not refused the request. */
  readonly begun: boolean;
  /** Estimate, on the high side, of the output tokens received. */
  readonly streamedTokens: number;
  /** The output tokens received, at least. */
  readonly receivedTokens: number;
}

/** Called in order: deltas, then exactly one of `done` and `failed`; nothing after `abort`. */
export interface ProviderEvents {
  delta(kind: DeltaKind, text: string): void;
  done(answer: Answer): void;
  failed(error: NexusError): void;
  /** So many tokens have come at most, also of what is no delta; now and then, behind the deltas that they are in. */
  progress?(tokens: number): void;
}

export interface ProviderStream {
  pause(): void;
  resume(): void;
  /** Ends the upstream request at once. */
  abort(): void;
  progress(): Progress;
}

/** A place that serves models. One call is one attempt: retry and fallback are the caller's. */
export interface Provider {
  readonly name: string;
  readonly simulator: boolean;
  /** Name of the provider in the price catalogue; null when none of its prices apply. */
  readonly catalogue: string | null;
  /** A price that holds whatever the catalogue says. */
  fixedPrice(model: string): ModelPrice | null;
  /** Whether a bare model name (without the provider's) means this provider, as far as that can be told without asking it. */
  claims(model: string): boolean;
  /** Whether the list of {@link models} has the model. Never throws. */
  lists(model: string): Promise<boolean>;
  /** For models that the catalogue does not know; null: then none is known. */
  readonly unlistedPrice: ModelPrice | null;
  /** False when the server's own list, as far as it was read, does not have the model. Asks nobody. */
  serves(model: string): boolean;
  /** The model for those who do not choose one; null when there is none to be had. Never throws. */
  defaultModel(): Promise<string | null>;
  /** Names of models for people to choose from; others may work too. Never throws. */
  models(): Promise<readonly string[]>;
  /** Why its models are not known, in a sentence; null when they are, or it was not asked. */
  trouble(): string | null;
  /** Whether the model may write tokens that are billed and not streamed; true unless it is known not to. */
  thinksUnseen(model: string): boolean;
  /** Its servers may read less than they are sent without a word. */
  readonly mayCut: boolean;
  limits(model: string): Partial<Pick<ModelTarget, 'contextTokens' | 'maxOutputTokens' | 'imageTokens' | 'templateTokens'>> & {
    /** The most tokens of what is in the body of every request, whatever is asked. */
    readonly bodyTokens?: number;
  };
  /** The most input tokens that a request can have by a count of the provider's own; null when there is none. Never rejects. */
  countInput(call: Pick<ProviderCall, 'model' | 'request'> & ForTenant, signal: AbortSignal): Promise<number | null>;
  open(call: ProviderCall, events: ProviderEvents): ProviderStream;
  close(): Promise<void>;
}
