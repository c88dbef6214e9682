import type { EffectsClass, ErrorInfo } from '@nexus-agent/protocol';
import type { JsonSchema } from '#core';

/** Asked before a tool touches something outside its own arguments (a host, a secret). The answer was decided by policy and recorded. */
export type Authorize = (request: {
  readonly action: 'net.egress' | 'secret.use';
  readonly resource: string;
  readonly context?: Record<string, unknown>;
}) => Promise<{ readonly allowed: true } | { readonly allowed: false; readonly error: ErrorInfo }>;

export interface ToolContext {
  readonly tenantId: string;
  readonly sessionId: string;
  readonly runId: string;
  readonly callId: string;
  readonly attempt: number;
  /** The same for every attempt of this call: pass it on to systems that support it. */
  readonly idempotencyKey: string;
  /** Folder of the session's files, which the file tools never leave; '' for a tool that declares no `fs.*` or `code.*` permission. */
  readonly workspace: string;
  readonly signal: AbortSignal;
  readonly authorize: Authorize;
  /** Progress for the stream; bounded, not kept. */
  readonly onOutput: (text: string) => void;
  readonly traceparent?: string;
}

/** What a tool gives. `output` is what the model reads; a value other than text is sent as JSON. */
export type ToolResult =
  | { readonly type: 'ok'; readonly output: unknown; readonly costMicroUsd?: number }
  /** A failure that the model can act on: `error.message` says what was wrong and what would be right. */
  | { readonly type: 'error'; readonly error: ErrorInfo };

export interface Tool {
  readonly name: string;
  readonly description: string;
  /** JSON Schema (2020-12) of the arguments, an object. */
  readonly inputSchema: JsonSchema;
  readonly outputSchema?: JsonSchema;
  readonly effects: EffectsClass;
  /** What it needs to touch, for people and policies: `fs.read`, `fs.write`, `net.egress`, `code.run`, `human`. */
  readonly permissions: readonly string[];
  readonly timeoutMs: number;
  /** Upper bound of what one call costs beyond the call itself; reserved before, settled with the result's cost. */
  readonly maxCostMicroUsd?: number;
  /** `question`: the engine asks a person instead of calling `execute`. */
  readonly kind?: 'question';
  execute(input: Record<string, unknown>, context: ToolContext): Promise<ToolResult>;
}

export type ToolExecution =
  | { readonly type: 'ok'; readonly output: string; readonly costMicroUsd: number; readonly durationMs: number }
  | { readonly type: 'error'; readonly error: ErrorInfo; readonly durationMs: number };

/** The agent core as the engine sees it; later also over gRPC. */
export interface ToolRegistry {
  list(): readonly Tool[];
  get(name: string): Tool | undefined;
  /** Tools whose name matches one of the patterns (`fs_*`), in registration order. */
  select(patterns: readonly string[]): readonly Tool[];
  /** Checks arguments against the input schema; the error names the path, what was there and what is expected. */
  validate(
    tool: Tool,
    input: unknown,
  ): { readonly type: 'ok'; readonly input: Record<string, unknown> } | { readonly type: 'error'; readonly error: ErrorInfo };
  /**
   * Runs a tool under `timeoutMs` and the context's signal. Never throws. Output over the limit is cut with a note that
   * says so. A tool that ignores its signal is given up after a short grace; its late result is dropped.
   */
  execute(
    tool: Tool,
    input: Record<string, unknown>,
    context: ToolContext,
    options: { readonly timeoutMs: number },
  ): Promise<ToolExecution>;
  close(): Promise<void>;
}
