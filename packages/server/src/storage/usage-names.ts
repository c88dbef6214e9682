import type { UsageQuery, UsageSum } from '#storage/contract';
import { type Driver, together } from '#storage/program';
import { bookedDays, sumFromRow, type UsageDay, usageOfDay } from '#storage/tables';
import { pieceRows } from './pieces.ts';

/** So many rows are held at once, of all days together: of a hundred days two hundred of each. */
const mostHeld = 20_000;

export interface NamesQuestion extends Pick<UsageQuery, 'from' | 'to'> {
  readonly tenant: string;
  readonly by: Exclude<UsageQuery['by'], 'day'>;
}

/** A day, read in the order of its names. */
interface DayReader {
  readonly day: string;
  rows: readonly UsageDay[];
  /** Of the rows those from here on are still to be taken. */
  at: number;
  /** There is nothing behind them. */
  isOver: boolean;
}

/**
 * Hands over the sum of each name over a range of days, in any order. All days are read side by side in the order of names, so that what
 * is held does not grow with their number. Ends early, with the reason of the signal, when that is aborted.
 */
export async function eachNameOfUsage(
  { read }: Pick<Driver, 'read'>,
  { tenant, by, from, to }: NamesQuestion,
  take: (sum: UsageSum) => void,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  const found = await read(() => bookedDays(tenant, { from, to }));
  const days = found.map((day): DayReader => ({ day, rows: [], at: 0, isOver: false }));
  const room = Math.max(1, Math.min(pieceRows, Math.floor(mostHeld / Math.max(1, days.length))));
  const atOnce = Math.max(1, Math.floor(pieceRows / room));

  async function fill(some: readonly DayReader[]): Promise<void> {
    signal?.throwIfAborted();
    const pieces = some.map(({ day, rows }) => usageOfDay(tenant, by, day, { after: rows.at(-1)?.name ?? null, limit: room }));
    const filled = await read(() => together(pieces), { when: 'in_turn' });
    some.forEach((reader, index) => {
      const rows = filled[index] ?? [];
      Object.assign(reader, { rows, at: 0, isOver: rows.length < room });
    });
  }

  for (;;) {
    const empty = days.filter(({ isOver, at, rows }) => !isOver && at === rows.length);
    for (let first = 0; first < empty.length; first += atOnce) await fill(empty.slice(first, first + atOnce));
    // Up to the first name behind which some day may go on, all days are there.
    const ends = days.flatMap(({ isOver, rows }) => (isOver ? [] : [rows.at(-1)?.name ?? '']));
    const until = ends.length === 0 ? null : ends.reduce((least, name) => (compareUtf8(name, least) < 0 ? name : least));
    for (const sum of sumsUntil(days, until)) take(sum);
    if (until === null) return;
  }
}

function sumsUntil(days: readonly DayReader[], until: string | null): Iterable<UsageSum> {
  const sums = new Map<string, UsageSum>();
  for (const day of days) {
    for (let row = day.rows[day.at]; row !== undefined; row = day.rows[day.at]) {
      if (until !== null && compareUtf8(row.name, until) > 0) break;
      sums.set(row.name, added(sums.get(row.name), sumFromRow(row)));
      day.at += 1;
    }
  }
  return sums.values();
}

/** As both databases order names. */
function compareUtf8(one: string, other: string): number {
  return one === other ? 0 : Buffer.compare(Buffer.from(one), Buffer.from(other));
}

function added(sum: UsageSum | undefined, { name, settlements, amounts }: UsageSum): UsageSum {
  if (sum === undefined) return { name, settlements, amounts };
  return {
    name,
    settlements: sum.settlements + settlements,
    amounts: {
      costMicroUsd: sum.amounts.costMicroUsd + amounts.costMicroUsd,
      tokens: sum.amounts.tokens + amounts.tokens,
      toolCalls: sum.amounts.toolCalls + amounts.toolCalls,
      wallMs: sum.amounts.wallMs + amounts.wallMs,
    },
  };
}
