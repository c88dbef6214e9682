import type { PoolState } from '#storage/contract';
import type { Program } from './program.ts';

/** How long a program may take, waiting and repeating included. Default: the driver's own limit. */
export interface DriverLimits {
  readonly withinMs?: number;
  /**
   * Where programs hold the thread: `soon` (the default) is at once while this turn of the event loop has room, else in a later one, after
   * what came before; `at_once` waits for none; `in_turn`, for a piece of much, waits for a turn, of which each takes one such piece.
   */
  readonly when?: 'at_once' | 'soon' | 'in_turn';
}

/** Runs programs on a database; one that takes too long rejects with `storage_unavailable`. A program may be started several times: it has no effect outside the database. */
export interface Driver {
  readonly dialect: 'sqlite' | 'postgres';
  /** Without a transaction. */
  read<R>(start: () => Program<R>, limits?: DriverLimits): Promise<R>;
  /** In one transaction; resolves after COMMIT. */
  write<R>(start: () => Program<R>, limits?: DriverLimits): Promise<R>;
  pool(): PoolState;
  /** Asks nothing of the database any more: what waits for it fails at once, and so does what comes. */
  giveUp(): void;
  close(): Promise<void>;
}
