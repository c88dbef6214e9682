import type { BudgetScopeKind, BudgetUnit } from '@nexus-agent/protocol';

/** How much of their limits budgets have used, by kind of scope and unit; those of single runs and sessions are left out. */
export interface BudgetUse {
  readonly scope: BudgetScopeKind;
  readonly unit: BudgetUnit;
  readonly used: 'under_half' | 'under_80' | 'under_100' | 'exhausted';
  readonly count: number;
  /** The largest share, reserved included. */
  readonly largest: number;
}

/** The state of the work of all tenants. Its size does not grow with them. */
export interface Measures {
  readonly runs: Readonly<Record<'queued' | 'running' | 'waiting', number>>;
  /** Queued runs that might begin, and since when the first of them might. */
  readonly due: { readonly count: number; readonly since: number | null };
  readonly approvalsWaiting: number;
  /** Processes: those whose lease stands, and those that ended, or stand still, without having given it up. */
  readonly workers: Readonly<Record<'alive' | 'lost', number>>;
  readonly budgets: readonly BudgetUse[];
}

/** Connections of this process to the database. */
export interface PoolState {
  readonly inUse: number;
  readonly idle: number;
  /** Who waits for one. */
  readonly waiting: number;
}

export interface MeasureStore {
  measure(nowMs: number): Promise<Measures>;
  pool(): PoolState;
}
