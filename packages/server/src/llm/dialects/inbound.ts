/** A request that came in, whatever the wire format. */
export interface InboundRequest {
  /** As asked for. */
  readonly model: string;
  readonly system: string;
  readonly turns: readonly InboundTurn[];
  readonly tools: readonly InboundTool[];
  readonly outputSchema: Record<string, unknown> | null;
  readonly maxTokens: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Everything that a provider would count as input. */
  readonly inputTexts: readonly string[];
}

export type InboundTurn =
  | { readonly role: 'user'; readonly text: string; readonly images: number }
  | { readonly role: 'assistant'; readonly text: string; readonly calls: readonly InboundCall[] }
  | { readonly role: 'tool'; readonly results: readonly InboundResult[] };

export interface InboundTool {
  readonly name: string;
  readonly schema: Record<string, unknown>;
}

export interface InboundCall {
  readonly id: string;
  readonly name: string;
  readonly input: Record<string, unknown>;
}

export interface InboundResult {
  readonly id: string;
  readonly output: string;
  readonly isError: boolean;
}

/** What is answered to it in one turn. */
export interface InboundAnswer {
  readonly thinking: string;
  readonly text: string;
  readonly calls: readonly { readonly name: string; readonly arguments: string }[];
  readonly finish: 'stop' | 'tool_calls' | 'length' | 'content_filter';
}

export interface RenderContext {
  readonly id: string;
  /** Unix time in seconds. */
  readonly created: number;
  readonly model: string;
  /** Who answers, for formats that say it. */
  readonly servedBy: string;
  /** Proof of the thinking, for formats that carry one. */
  readonly signature: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly reasoningTokens: number;
  readonly reportUsage: boolean;
  /** Cuts text and thinking into the pieces that are sent one by one. */
  readonly pieces: (text: string) => readonly string[];
}

/** An answer in a wire format: `open`, `chunks` and `close` are the stream, `body` the answer in one piece. */
export interface Rendered {
  readonly open: string;
  /** One piece of text, thinking or tool arguments each. */
  readonly chunks: readonly string[];
  readonly close: string;
  readonly body: unknown;
}

/** A wire format as others speak it to us: requests in, answers out. */
export interface InboundDialect {
  /** Path below the base URL. */
  readonly path: string;
  /** Throws an Error with the reason when the body is no request of this format. */
  read(body: Record<string, unknown>): InboundRequest;
  render(answer: InboundAnswer, context: RenderContext): Rendered;
  /** The body of an answer with this HTTP status. */
  error(status: number, message: string): unknown;
  /** The event that reports a failure in the middle of a stream. */
  errorEvent(message: string): string;
}

/** The text of a turn that is counted as input. */
export function turnText(turn: InboundTurn): string {
  switch (turn.role) {
    case 'user':
      return turn.text;
    case 'assistant':
      return [turn.text, ...turn.calls.map((call) => `${call.name} ${JSON.stringify(call.input)}`)].join('');
    case 'tool':
      return turn.results.map((result) => result.output).join(' ');
    default:
      return turn satisfies never;
  }
}

/** Tool arguments come in pieces that are cut anywhere, as providers do. */
export function argumentPieces(text: string): string[] {
  return text.match(/[\s\S]{1,24}/gu) ?? [];
}
