import type { SpanPlace } from '#core';

export type SpanKindName = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

/** A span as it ended. */
export interface EndedSpan {
  readonly name: string;
  readonly kind: SpanKindName;
  readonly place: SpanPlace;
  readonly parent: SpanPlace | undefined;
  readonly links: readonly SpanPlace[];
  readonly startMs: number;
  readonly durationMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean | string[]>>;
  readonly error: { readonly message: string } | undefined;
}
