import { isTypeId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { createIdSource } from '#core';
import { createManualClock } from '#core/testing';

it('gives ids that are well formed and sort by creation', () => {
  const ids = createIdSource(createManualClock());
  const made = Array.from({ length: 10_000 }, () => ids.next('run'));
  expect(made.every((id) => isTypeId('run', id))).toBe(true);
  expect([...made].sort()).toEqual(made);
});
