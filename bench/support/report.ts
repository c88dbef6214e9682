/** What a benchmark found, as lines for people and, when bench/run.ts started it, as a message to the runner. */

interface Bar {
  readonly op: '<=' | '>=';
  readonly value: number;
}

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What docs/performance.md asks for; a figure without one is there to compare with. */
  readonly bar?: Bar;
}

export interface Report {
  readonly bench: string;
  readonly figures: readonly Figure[];
  /** What was not measured and why, or under which conditions it was. */
  readonly notes: readonly string[];
}

/** What bench/run.ts writes to bench/results/latest.json. */
export interface Result {
  readonly date: string;
  readonly command: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGb: number;
    readonly platform: string;
    readonly node: string;
    /** Load average when the run began: on a machine that does other work, figures are worse than the product. */
    readonly loadBefore: number;
  };
  readonly reports: readonly Report[];
  readonly failures: readonly string[];
}

export function meets({ value, bar }: Figure): boolean | null {
  if (bar === undefined) return null;
  return bar.op === '<=' ? value <= bar.value : value >= bar.value;
}

export function describe(figure: Figure): string {
  const { name, value, unit, bar } = figure;
  const verdict = bar === undefined ? '' : `bar ${bar.op} ${bar.value}  ${meets(figure) === true ? 'met' : 'NOT MET'}`;
  return `  ${name.padEnd(64)} ${format(value).padStart(10)} ${unit.padEnd(12)} ${verdict}`.trimEnd();
}

export function format(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

/** Prints a report and hands it to the runner. */
export function report(bench: string, figures: readonly Figure[], notes: readonly string[] = []): void {
  process.stdout.write(
    `${bench}\n${figures.map((figure) => `${describe(figure)}\n`).join('')}${notes.map((note) => `  note: ${note}\n`).join('')}`,
  );
  process.send?.({ bench, figures, notes } satisfies Report);
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
