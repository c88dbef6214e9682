/** What a load script is judged by, named as k6 names it. */

interface Samples {
  readonly name: string;
  /** Times in ms for a trend; 1 or 0 for a rate. */
  readonly values: number[];
  readonly kind: 'trend' | 'rate' | 'counter';
}

type MetricName = 'http_req_duration' | 'http_req_failed' | 'checks' | 'http_reqs' | 'iterations';

export function createSamples(): Record<MetricName, Samples> {
  const make = (name: MetricName, kind: Samples['kind']): Samples => ({ name, kind, values: [] });
  return {
    http_req_duration: make('http_req_duration', 'trend'),
    http_req_failed: make('http_req_failed', 'rate'),
    checks: make('checks', 'rate'),
    http_reqs: make('http_reqs', 'counter'),
    iterations: make('iterations', 'counter'),
  };
}

export interface Threshold {
  readonly metric: string;
  readonly expression: string;
  readonly value: number;
  readonly holds: boolean;
}

const form = /^\s*(p\((\d+(?:\.\d+)?)\)|avg|min|max|med|rate|count)\s*(<=|>=|<|>|===|==|!=)\s*(-?\d+(?:\.\d+)?)\s*$/;

/** Whether a threshold holds. Throws for what is no threshold of a metric that there is: one that is not understood must not seem to hold. */
export function judge(samples: Readonly<Record<string, Samples>>, metric: string, expression: string): Threshold {
  const found = samples[metric];
  if (found === undefined) throw new Error(`there is no metric ${metric}; there are ${Object.keys(samples).join(', ')}`);
  const [, method = '', percent, operator = '', limit = ''] = form.exec(expression) ?? [];
  const value = aggregate(found, method, Number(percent));
  if (value === null) throw new Error(`the threshold ${metric} ${JSON.stringify(expression)} is not understood for a ${found.kind}`);
  return { metric, expression, value, holds: compare(value, operator, Number(limit)) };
}

function aggregate({ kind, values }: Samples, method: string, percent: number): number | null {
  const sum = values.reduce((total, value) => total + value, 0);
  if (kind === 'counter') return method === 'count' ? values.length : null;
  if (kind === 'rate') return method === 'rate' ? (values.length === 0 ? 0 : sum / values.length) : null;
  switch (method) {
    case '':
    case 'rate':
    case 'count':
      return null;
    case 'avg':
      return values.length === 0 ? 0 : sum / values.length;
    case 'min':
      return percentileOf(values, 0);
    case 'max':
      return percentileOf(values, 100);
    case 'med':
      return percentileOf(values, 50);
    default:
      return percentileOf(values, percent);
  }
}

/** Between the two samples that it lies between, as k6 has it. */
export function percentileOf(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (percent / 100) * Math.max(0, sorted.length - 1);
  const [low = 0, high = low] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at - Math.floor(at));
}

function compare(value: number, operator: string, limit: number): boolean {
  switch (operator) {
    case '<':
      return value < limit;
    case '<=':
      return value <= limit;
    case '>':
      return value > limit;
    case '>=':
      return value >= limit;
    case '!=':
      return value !== limit;
    default:
      return value === limit;
  }
}
