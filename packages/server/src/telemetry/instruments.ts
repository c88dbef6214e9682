import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { LabelSet } from './labels.ts';

/** As the conventions advise: 10 ms doubling up to 82 s. */
export const operationBuckets = Array.from({ length: 14 }, (_, index) => 0.01 * 2 ** index);

export type Instruments = ReturnType<typeof createInstruments>;

type Labels<Label extends string> = Readonly<Record<Label, LabelSet>>;
type Values<Label extends string> = Readonly<Record<Label, string>>;

/** The values of a series: each of the set that its label was declared with. */
function within<Label extends string>(sets: Labels<Label>): (values: Values<Label>) => Record<Label, string> {
  const entries = Object.entries(sets) as [Label, LabelSet][]; // the keys of the type
  return (values) => Object.fromEntries(entries.map(([name, set]) => [name, set.of(values[name] ?? '')])) as Record<Label, string>; // one for each
}

export function createInstruments(registry: Registry) {
  const registers = [registry];
  return {
    total(name: string, help: string) {
      const counter = new Counter({ name, help, registers });
      return (count = 1) => counter.inc(count);
    },
    counter<Label extends string>(name: string, help: string, sets: Labels<Label>) {
      const counter = new Counter({ name, help, labelNames: Object.keys(sets), registers });
      const said = within(sets);
      return { inc: (values: Values<Label>, count = 1) => counter.inc(said(values), count) };
    },
    gauge: (name: string, help: string) => new Gauge({ name, help, registers }),
    gauges<Label extends string>(name: string, help: string, sets: Labels<Label>) {
      const gauge = new Gauge({ name, help, labelNames: Object.keys(sets), registers });
      const said = within(sets);
      return { set: (values: Values<Label>, value: number) => gauge.set(said(values), value) };
    },
    timing(name: string, help: string, buckets: number[]) {
      const histogram = new Histogram({ name, help, buckets, registers });
      return (value: number) => histogram.observe(value);
    },
    histogram<Label extends string>(name: string, help: string, buckets: number[], sets: Labels<Label>) {
      const histogram = new Histogram({ name, help, buckets, labelNames: Object.keys(sets), registers });
      const said = within(sets);
      return {
        observe: (values: Values<Label>, value: number) => histogram.observe(said(values), value),
        /** A series that stands there from the start. */
        begin: (values: Values<Label>) => histogram.zero(said(values)),
      };
    },
  };
}
