import type { Admission } from '#budget';
import type { Clock, IdSource, SchemaValidator, Timers } from '#core';
import type { InputCounts, ModelService } from '#llm';
import type { PolicyEngine } from '#policy';
import type { Store } from '#storage';
import type { Logger, Metrics, Tracer } from '#telemetry';
import type { ToolService } from '#tools';

export interface CallSettings {
  /** A model call is refused when less than this many output tokens can be afforded. */
  readonly minUsefulTokens: number;
  /** What a model call can have used when its process is lost is kept on record so far ahead of what has come. */
  readonly aheadTokens: number;
  /** A reservation outlives its call's deadline by this much before the sweeper may charge it. */
  readonly reservationSlackMs: number;
}

/** Until when a reservation for a call of so long is its own: the fields of the ledger. */
export function expiry(
  { clock, settings }: Pick<CallEngine, 'clock'> & { readonly settings: Pick<CallSettings, 'reservationSlackMs'> },
  timeoutMs: number,
) {
  const lifeMs = timeoutMs + settings.reservationSlackMs;
  return { expiresAt: clock.now() + lifeMs, lifeMs };
}

/** What a governed call is made of. */
export interface CallEngine {
  readonly store: Store;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly ids: IdSource;
  readonly policy: PolicyEngine;
  readonly llm: ModelService;
  /** What is known of the size of requests. */
  readonly inputCounts: InputCounts;
  readonly tools: ToolService;
  /** Checks arguments and answers against JSON Schemas. */
  readonly schemas: SchemaValidator;
  readonly logger: Logger;
  readonly tracer: Tracer;
  readonly metrics: Metrics;
  /** Where calls wait for what others hold of their budget. It hears of what is given back by the store. */
  readonly admission: Admission;
  readonly settings: CallSettings;
}
