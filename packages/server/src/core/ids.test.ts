import { isTypeId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createIdSource, derivedId } from './ids.ts';
import { createManualClock } from './testing/index.ts';

it('gives ids that are well formed and sort by creation, also when the clock goes back', () => {
  const clock = createManualClock();
  const ids = createIdSource(clock);
  const made = Array.from({ length: 20_000 }, (_, index) => {
    if (index % 5_000 === 4_999) clock.advance(index < 10_000 ? -50 : 3);
    return ids.next('run');
  });
  expect(made.every((id) => isTypeId('run', id))).toBe(true);
  expect([...made].sort().join() === made.join()).toBe(true);
  expect(new Set(made).size).toBe(made.length);
});

it('derives the same id from the same seed, and another from another', () => {
  const id = derivedId('call', 'run_1/2/tool/0');
  expect(isTypeId('call', id)).toBe(true);
  expect(derivedId('call', 'run_1/2/tool/0')).toBe(id);
  expect(derivedId('call', 'run_1/2/tool/1')).not.toBe(id);
});
