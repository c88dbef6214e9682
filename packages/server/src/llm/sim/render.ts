export interface RenderContext {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
  readonly reportUsage: boolean;
}

/** An answer in a wire format: `open`, `chunks` and `close` are the stream, `body` the answer in one piece. */
export interface Rendered {
  readonly open: string;
  /** One content chunk each: what the fault knobs count. */
  readonly chunks: readonly string[];
  readonly close: string;
  /** The event that reports an error in the middle of the stream. */
  readonly error: string;
  readonly body: unknown;
}
