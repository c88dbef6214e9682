import type { CallEngine, CallSettings } from '#calls';
import type { SecretValues } from '#core';
import type { StreamHub } from '#runs/stream';
import type { LongTexts } from '#tools';
import type { CompactionSettings } from './compaction.ts';

/** Limits and intervals of the engine; every one has a default in the configuration. */
export interface EngineSettings extends CallSettings, CompactionSettings {
  readonly maxEqualSteps: number;
  /** Longest time for which the tool `wait` makes a run sleep. */
  readonly maxWaitMs: number;
  /** How often in a run an answer that cannot be used is asked for again. */
  readonly maxRepairs: number;
  /** Depth of sub-agents: a run that a person started has depth 0. */
  readonly maxDepth: number;
  /** How long effects may take to stop after they were told to. */
  readonly stopGraceMs: number;
  /** How long an outage of the store may last before a run is given up whose lease has ended meanwhile. */
  readonly outagePatienceMs: number;
  /** Part of a model's context that a request may fill before old turns are summarised. */
  readonly compactAt: number;
  /** Characters of the journals of ended runs that are kept in memory. */
  readonly transcriptChars: number;
}

/** What the engine of runs is made of. */
export interface Engine extends CallEngine {
  readonly hub: StreamHub;
  /** What no journal may hold. */
  readonly secrets: SecretValues;
  /** Left out: what clients give is told as it is. */
  readonly longTexts?: LongTexts;
  readonly workerId: string;
  readonly settings: EngineSettings;
}
