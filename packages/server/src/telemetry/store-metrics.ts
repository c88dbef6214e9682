import { BudgetScopeKind, budgetUnits, RunStatus } from '@nexus-agent/protocol';
import { Gauge, type Registry } from 'prom-client';
import type { Clock } from '#core';
import { closedSet } from './labels.ts';
import { metricNames } from './names.ts';

/** What is asked of the store: of all tenants, with labels from closed sets only. */
export interface ObservedStore {
  measure(nowMs: number): Promise<{
    readonly runs: Readonly<Record<string, number>>;
    readonly due: { readonly count: number; readonly since: number | null };
    readonly approvalsWaiting: number;
    readonly workers: Readonly<Record<'alive' | 'lost', number>>;
    readonly budgets: readonly {
      readonly scope: string;
      readonly unit: string;
      readonly used: string;
      readonly count: number;
      readonly largest: number;
    }[];
  }>;
  pool(): { readonly inUse: number; readonly idle: number; readonly waiting: number };
}

const statuses = closedSet(RunStatus.options);
const scopes = closedSet(BudgetScopeKind.options);
const units = closedSet(budgetUnits);
const uses = closedSet(['under_half', 'under_80', 'under_100', 'exhausted']);

/**
 * Gauges that are read from the store before each scrape, with one question for all of them: the function does. While the store does
 * not answer they are left out, and everything else is told as ever.
 */
export function registerStoreMetrics(registry: Registry, store: ObservedStore, clock: Clock): () => Promise<void> {
  const registers = [registry];
  const gauge = <Label extends string>(name: string, help: string, labelNames: Label[] = []) =>
    new Gauge({ name, help, labelNames, registers });
  const runs = gauge(metricNames.runs, 'Runs that have not ended, of all processes', ['status']);
  const depth = gauge(metricNames.queueDepth, 'Queued runs that may begin and that nobody has taken');
  const oldest = gauge(metricNames.queueOldest, 'How long the first of them has waited');
  const approvals = gauge(metricNames.approvalsWaiting, 'Approvals that wait for a person');
  const workers = gauge(metricNames.workers, 'Processes by whether their lease stands', ['state']);
  const limits = gauge(metricNames.budgetLimits, 'Limits of tenants, projects, agents and users by how much of them is used', [
    'scope',
    'unit',
    'used',
  ]);
  const utilization = gauge(metricNames.budgetUtilization, 'The largest share of a limit that is spent or reserved', ['scope', 'unit']);
  const connections = gauge(metricNames.databaseConnections, 'Connections of this process to the database', ['state']);
  const up = gauge(metricNames.databaseUp, 'Whether the database answered this scrape');

  return async () => {
    const pool = store.pool();
    connections.set({ state: 'in_use' }, pool.inUse);
    connections.set({ state: 'idle' }, pool.idle);
    connections.set({ state: 'waiting' }, pool.waiting);
    const now = clock.now();
    const measures = await store.measure(now).catch(() => null); // whoever works with it says why
    for (const metric of [runs, limits, utilization, workers]) metric.reset();
    up.set(measures === null ? 0 : 1);
    if (measures === null) {
      for (const metric of [depth, oldest, approvals]) metric.remove();
      return;
    }
    for (const [status, count] of Object.entries(measures.runs)) runs.set({ status: statuses.of(status) }, count);
    depth.set(measures.due.count);
    oldest.set(measures.due.since === null ? 0 : Math.max(0, now - measures.due.since) / 1000);
    approvals.set(measures.approvalsWaiting);
    workers.set({ state: 'alive' }, measures.workers.alive);
    workers.set({ state: 'lost' }, measures.workers.lost);
    const largest = new Map<string, { scope: string; unit: string; share: number }>();
    for (const budget of measures.budgets) {
      const { count, largest: share } = budget;
      const [scope, unit] = [scopes.of(budget.scope), units.of(budget.unit)];
      limits.set({ scope, unit, used: uses.of(budget.used) }, count);
      const key = `${scope} ${unit}`;
      largest.set(key, { scope, unit, share: Math.max(share, largest.get(key)?.share ?? 0) });
    }
    for (const { scope, unit, share } of largest.values()) utilization.set({ scope, unit }, share);
  };
}
