import { afterEach, expect, it } from 'vitest';
import { periodAt } from './windows.ts';

const zone = process.env.TZ;
afterEach(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

const minuteMs = 60_000;

it.each([
  ['America/New_York', '2026-03-08', 'an hour is left out'],
  ['America/New_York', '2026-11-01', 'an hour comes twice'],
  ['Pacific/Apia', '2011-12-30', 'a day is left out'],
  ['Asia/Kolkata', '2026-12-31', 'the day begins at half past'],
])('a day and a month begin once, in UTC, in %s on %s when %s [verifies budget.window.rolls]', (name, day) => {
  process.env.TZ = name;
  const from = Date.parse(`${day}T00:00:00Z`) - 24 * 60 * minuteMs;
  const days: string[] = [];
  const months: string[] = [];
  for (let at = from; at < from + 4 * 24 * 60 * minuteMs; at += minuteMs) {
    const [today, month] = [periodAt('day', at), periodAt('month', at)];
    if (days.at(-1) !== today) days.push(today);
    if (months.at(-1) !== month) months.push(month);
  }
  expect(days).toEqual([0, 1, 2, 3].map((number) => new Date(from + number * 24 * 60 * minuteMs).toISOString().slice(0, 10)));
  expect(months).toEqual([...new Set(days.map((each) => each.slice(0, 7)))]);
  expect(periodAt('total', from)).toBe('');
});
