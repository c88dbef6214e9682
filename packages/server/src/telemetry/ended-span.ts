import type { SpanPlace } from '#core';

/** `client` is a call to another system. */
export type SpanKindName = 'internal' | 'client';

/** A span as it ended. */
export interface EndedSpan {
  readonly name: string;
  readonly kind: SpanKindName;
  readonly place: SpanPlace;
  readonly parent: SpanPlace | undefined;
  readonly startMs: number;
  readonly durationMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean | string[]>>;
  readonly error: { readonly message: string } | undefined;
}
