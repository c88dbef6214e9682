import { expect, it } from 'vitest';
import { formatTraceparent, parseTraceparent } from './traceparent.ts';

const [traceId, spanId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];

it('reads what it writes', () => {
  for (const sampled of [true, false]) {
    const place = { traceId, spanId, sampled };
    expect(parseTraceparent(formatTraceparent(place))).toEqual(place);
  }
});

it('ignores what a later version adds, and only that', () => {
  expect(parseTraceparent(`01-${traceId}-${spanId}-03-more`)).toEqual({ traceId, spanId, sampled: true });
  expect(parseTraceparent(`00-${traceId}-${spanId}-03-more`)).toBeUndefined();
  expect(parseTraceparent(`01-${traceId}-${spanId}-03more`)).toBeUndefined();
  expect(parseTraceparent(`00-${traceId.toUpperCase()}-${spanId}-01`)).toBeUndefined();
});
