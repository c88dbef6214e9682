import { registerHooks } from 'node:module';
import { resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import { begin, count, end, samples } from './api.ts';
import { judge, percentileOf, type Threshold } from './metrics.ts';

/** What of a script we run; k6 knows much more, and a script that uses it is refused. */
interface LoadScript {
  readonly options?: {
    readonly vus?: number;
    readonly duration?: string;
    readonly thresholds?: Readonly<Record<string, readonly string[]>>;
  };
  readonly setup?: () => unknown;
  readonly default?: (data: unknown) => unknown;
}

interface LoadResult {
  readonly requests: number;
  readonly failed: number;
  readonly checksFailed: number;
  readonly iterations: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly seconds: number;
  readonly thresholds: readonly Threshold[];
}

const knownOptions = new Set(['vus', 'duration', 'thresholds']);
const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

function durationMs(text: string): number {
  const [, number, unit = ''] = /^(\d+)(ms|s|m)$/.exec(text) ?? [];
  const factor = units[unit];
  if (number === undefined || factor === undefined) throw new Error(`the duration ${JSON.stringify(text)} is none; write 30s, 500ms or 2m`);
  return Number(number) * factor;
}

/** Runs a load script of k6 in this process, once: its users are loops, its modules are ours. */
export async function runScript(
  file: string,
  env: Readonly<Record<string, string>>,
  change: { readonly duration?: string } = {},
): Promise<LoadResult> {
  const modules: Readonly<Record<string, string>> = { k6: './module-k6.ts', 'k6/http': './module-http.ts' };
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      const own = modules[specifier];
      if (own !== undefined) return { url: new URL(own, import.meta.url).href, shortCircuit: true };
      if (specifier.startsWith('k6/')) throw new Error(`the module ${specifier} is none that runs without k6`);
      return next(specifier, context);
    },
  });
  Object.assign(globalThis, { __ENV: env });
  const script = (await import(pathToFileURL(resolvePath(file)).href)) as LoadScript; // its form is checked below
  hooks.deregister();
  const { vus = 1, duration = '10s', thresholds = {} } = { ...script.options, ...change };
  const unknown = Object.keys(script.options ?? {}).filter((name) => !knownOptions.has(name));
  if (unknown.length > 0) throw new Error(`the option ${unknown.join(', ')} is none that runs without k6`);
  if (typeof script.default !== 'function') throw new Error(`${file} has no function as its default export`);
  const iterate = script.default;
  for (const [metric, list] of Object.entries(thresholds)) for (const expression of list) judge(samples, metric, expression);
  begin(vus);
  try {
    const data = await script.setup?.();
    count(true);
    const startedAt = performance.now();
    const until = startedAt + durationMs(duration);
    const user = async () => {
      while (performance.now() < until) {
        await iterate(data);
        samples.iterations.values.push(1);
      }
    };
    await Promise.all(Array.from({ length: vus }, user));
    const times = samples.http_req_duration.values;
    return {
      requests: times.length,
      failed: samples.http_req_failed.values.filter((failed) => failed === 1).length,
      checksFailed: samples.checks.values.filter((holds) => holds === 0).length,
      iterations: samples.iterations.values.length,
      ...{ p50: percentileOf(times, 50), p95: percentileOf(times, 95), p99: percentileOf(times, 99) },
      seconds: (performance.now() - startedAt) / 1_000,
      thresholds: Object.entries(thresholds).flatMap(([metric, list]) => list.map((expression) => judge(samples, metric, expression))),
    };
  } finally {
    await end();
  }
}
