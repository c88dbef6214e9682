export interface PageRequest {
  readonly limit: number;
  /** Opaque; from the previous page. */
  readonly cursor?: string;
}
export interface PageOf<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}
