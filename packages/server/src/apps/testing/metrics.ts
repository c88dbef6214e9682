/**
 * The value of a metric in Prometheus text format, summed over the samples that have these labels; 0 when there is none.
 * `name` is that of the sample, so a histogram is asked for by `…_count` or `…_sum`.
 */
export function metricValue(text: string, name: string, labels: Readonly<Record<string, string>> = {}): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  let sum = 0;
  for (const line of text.split('\n')) {
    const sample = /^([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null || sample[1] !== name) continue;
    if (wanted.every((label) => (sample[2] ?? '').includes(label))) sum += Number(sample[3]);
  }
  return sum;
}
