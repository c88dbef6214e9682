import { expect, it } from 'vitest';
import { OutputRing } from './tool-output.ts';

it('gives a reader what came after its place, in order, and is bounded in size', () => {
  const ring = new OutputRing(64_000);
  for (let index = 0; index < 100; index++) ring.add({ afterSeq: index, step: 1, callId: 'call', text: `${index}`.padEnd(1_000) });
  expect(ring.last).toBe(100);
  expect(ring.after(100)).toEqual([]);
  expect(ring.after(97).map((output) => output.number)).toEqual([98, 99, 100]);
  const kept = ring.after(0);
  expect(kept.length).toBe(64);
  expect(kept.map((output) => output.number)).toEqual(Array.from({ length: 64 }, (_, index) => 37 + index));
});
