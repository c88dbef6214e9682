import type { Message } from '@nexus-agent/protocol';

export interface ToolSpec {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Record<string, unknown>;
}

/** A request in the platform's own terms; a dialect turns it into a provider's. Tool order is kept: prompt caches depend on it. */
export interface ModelRequest {
  readonly system: string;
  readonly messages: readonly Message[];
  readonly tools: readonly ToolSpec[];
  readonly maxOutputTokens: number;
  readonly temperature?: number;
  /** JSON Schema that the answer must fit. */
  readonly outputSchema?: Record<string, unknown>;
  /** Stable over attempts of one call; sent where a provider supports it. */
  readonly idempotencyKey: string;
}

/** What of a request counts as input. */
export type ModelInput = Pick<ModelRequest, 'system' | 'messages' | 'tools' | 'outputSchema'>;
