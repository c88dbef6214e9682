import type { Usage } from '@nexus-agent/protocol';
import type { Clock, IdSource } from '#core';
import type { LanguageModels, ModelTarget } from '#llm';
import type { PolicyEngine } from '#policy';
import type { StreamHub } from '#runs/stream';
import type { Store } from '#storage';
import type { Logger, Metrics, Tracer } from '#telemetry';
import type { SchemaValidator, ToolRegistry } from '#tools';

/** Limits and intervals of the engine; every one has a default in the configuration. */
export interface EngineSettings {
  readonly maxEqualSteps: number;
  /** Depth of sub-agents: a run that a person started has depth 0. */
  readonly maxDepth: number;
  /** A model call is refused when less than this many output tokens can be afforded. */
  readonly minUsefulTokens: number;
  /** How long effects may take to stop after they were told to. */
  readonly stopGraceMs: number;
  /** A reservation outlives its call's deadline by this much before the sweeper may charge it. */
  readonly reservationSlackMs: number;
  /** Part of a model's context that a request may fill before old turns are summarised. */
  readonly compactAt: number;
}

export const defaultEngineSettings: EngineSettings = {
  maxEqualSteps: 3,
  maxDepth: 4,
  minUsefulTokens: 16,
  stopGraceMs: 2_000,
  reservationSlackMs: 30_000,
  compactAt: 0.85,
};

/** What the engine is made of. */
export interface Engine {
  readonly store: Store;
  readonly hub: StreamHub;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly policy: PolicyEngine;
  readonly llm: LanguageModels;
  readonly tools: ToolRegistry;
  /** Checks final answers against an agent's output schema. */
  readonly schemas: SchemaValidator;
  readonly logger: Logger;
  readonly tracer: Tracer;
  readonly metrics: Metrics;
  /** Integer micro-USD that a call of this usage costs, rounded up. */
  readonly costOf: (target: ModelTarget, usage: Usage) => number;
  /** Folder of a session's files; created when it is missing. */
  readonly workspaceOf: (tenantId: string, sessionId: string) => Promise<string>;
  readonly workerId: string;
  readonly settings: EngineSettings;
}
