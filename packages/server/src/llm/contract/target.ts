/** A model of a provider, as routing and pricing see it. */
export interface ModelTarget {
  readonly provider: string;
  readonly model: string;
  readonly contextTokens: number;
  readonly maxOutputTokens: number;
  readonly simulator: boolean;
  /** It may write tokens that are billed and not streamed, or not be known not to: an answer of which little was seen may have cost its limit. */
  readonly thinksUnseen: boolean;
  /** The most input tokens that one image counts, whatever its size. */
  readonly imageTokens: number;
  /** The most tokens of words that its server puts around every request: a date, a name, how answers are written. */
  readonly templateTokens: number;
  /** An answer of it has gone on beyond the limit that it was given; policies may refuse such a model. */
  readonly ignoresLimits?: true;
  /** Null: no price is known. What then happens is a policy decision (default: deny), never zero. */
  readonly price: ModelPrice | null;
  /** Where no price is known: the name in the configured prices that is spelt most like this one. */
  readonly nearPrice?: string;
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

/** Whether both are the same model of the same provider; what crossed a process is another object. */
export function isSameTarget(a: Pick<ModelTarget, 'provider' | 'model'>, b: Pick<ModelTarget, 'provider' | 'model'>): boolean {
  return a.provider === b.provider && a.model === b.model;
}
