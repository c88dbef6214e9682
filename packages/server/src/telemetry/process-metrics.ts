import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '#core';
import { metricNames } from './names.ts';

export interface BuildInfo {
  readonly version: string;
  /** The kind of database that it runs on. */
  readonly database: string;
}

/** Always 1: what runs stands in the labels. */
export function registerBuildInfo(registry: Registry, { version, database }: BuildInfo): void {
  new Gauge({
    name: metricNames.buildInfo,
    help: 'What runs: versions and the kind of database',
    labelNames: ['version', 'node', 'database'],
    registers: [registry],
  }).set({ version, node: process.versions.node, database }, 1);
}

/** Values of the process itself, read at each scrape. Lag is of the time since the scrape before. */
export function registerProcessMetrics(registry: Registry, clock: Clock): { stop(): void } {
  const registers = [registry];
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  new Gauge({
    name: metricNames.eventLoopLag,
    help: 'Delay of the event loop',
    labelNames: ['percentile'], // `quantile` is for summaries alone
    registers,
    collect() {
      for (const percentile of [50, 99, 100]) {
        const nanoseconds = percentile === 100 ? delay.max : delay.percentile(percentile);
        // Timers are due every 10 ms: what is measured includes that.
        this.set({ percentile: String(percentile) }, Math.max(0, nanoseconds / 1e9 - 0.01));
      }
      delay.reset();
    },
  });
  new Gauge({
    name: metricNames.processMemory,
    help: 'Memory of the process',
    labelNames: ['kind'],
    registers,
    collect() {
      const { rss, heapUsed, external } = process.memoryUsage();
      this.set({ kind: 'rss' }, rss);
      this.set({ kind: 'heap_used' }, heapUsed);
      this.set({ kind: 'external' }, external);
    },
  });
  new Counter({
    name: metricNames.processCpu,
    help: 'CPU time of the process',
    labelNames: ['mode'],
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc({ mode: 'user' }, user / 1e6);
      this.inc({ mode: 'system' }, system / 1e6);
    },
  });
  new Gauge({ name: metricNames.processStart, help: 'When the process started, in seconds since 1970', registers }).set(
    Math.round(clock.now() / 1000 - process.uptime()),
  );
  return { stop: () => delay.disable() };
}
