import type { RunId, TenantId } from '@nexus-agent/protocol';
import type { ExecutorOptions } from '#runs/drive';
import type { RunRow } from '#storage';
import type { Span } from '#telemetry';

/** A run that was taken by a worker at this epoch. */
export type RunClaim = Pick<RunRow, 'tenantId' | 'runId' | 'epoch'>;

/** A message to whoever holds a run: something changed that it may wait for, or it is to stop. */
export interface WakeMessage {
  readonly tenantId: TenantId;
  readonly runId: RunId;
  /** Why it is to be cancelled. */
  readonly cancel?: string;
}

export type Wake = (message: WakeMessage) => void;

export interface AdoptOptions extends Pick<ExecutorOptions, 'context' | 'fence' | 'state' | 'opening'> {
  /** The run's span, when this process began it. */
  readonly span?: Span;
  /** When the lease of whoever drove it before had ended. */
  readonly lostAt?: number;
}

/**
 * Decides which process drives which run. Nothing is in its memory that is not in the store: what one dispatcher loses,
 * any other takes up. The one here reads the table of runs; another engine can stand in its place.
 */
export interface Dispatcher {
  /** Begins to claim runs. Rejects when the store does not take its first sign of life. */
  start(): Promise<void>;
  readonly liveRuns: number;
  /** The database took a sign of life of this process lately. */
  readonly leaseStands: boolean;
  /**
   * A place for a run that is accepted now, to be given back by calling it once the run is adopted or will not be. Null when this
   * process is not to drive it: it has no room, or nobody waits at it for the run (`background`) and another process is less busy.
   */
  hold(run: { readonly background: boolean }): (() => void) | null;
  /** Drives a run that was just written with this process as its owner. */
  adopt(options: AdoptOptions): void;
  /** A run that this process may own without driving it, as the answer to its creation was lost: it goes to the queue. */
  disown(claim: RunClaim): void;
  /** Tells the run's owner, wherever it is, and claims the run here when nobody drives it. Never throws, never waits. */
  readonly wake: Wake;
  readonly draining: boolean;
  /**
   * Starts nothing new, lets calls in flight finish for `timeoutMs`, gives the rest up, and ends the lease. `onLeft` is called once
   * nothing is driven here any more, or the time is over: what follows waits for the database alone.
   */
  drain(timeoutMs: number, onLeft?: () => void): Promise<void>;
}

export interface DispatchSettings {
  /** A worker that does not renew its lease for so long is taken for dead. */
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  /** How often the queue is looked at when nobody wakes the worker; so long a busy one leaves work to others. */
  readonly pollMs: number;
  readonly maxLiveRuns: number;
  /** How long a run rests in the queue that could not be taken up or written here. */
  readonly retryTakeMs: number;
  /** So often in a row may the work of a run turn out to be impossible to write; each time may have cost a model call. */
  readonly maxBreaks: number;
  /** Deaths of its workers, before a call of it had an outcome, after which a run ends. */
  readonly maxDeaths: number;
  /** So long at most a run is driven alone whose workers died. */
  readonly aloneMs: number;
}
