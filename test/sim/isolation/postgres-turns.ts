import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type Chance, Violation } from '../../../packages/server/src/apps/testing/index.ts';
import type { Store } from '../../../packages/server/src/storage/index.ts';
import { acquirePostgres } from '../../support/postgres.ts';
import { openTestStore } from '../../support/stores.ts';
import { type Fate, type HeldWire, openHeldWire } from './held-wire.ts';
import { type Faults, patienceMs, type TurnsDatabase } from './turns.ts';
import { quotas } from './work.ts';

/** Nodes on a Postgres of their own, each by a {@link HeldWire}. */
export async function openPostgresTurns(nodes: number): Promise<TurnsDatabase | { readonly reason: string }> {
  const postgres = await acquirePostgres();
  if ('reason' in postgres) return postgres;
  // A ring of waits is told after 30 ms instead of a second.
  const url = `${postgres.url}?options=${encodeURIComponent('-c deadlock_timeout=30ms')}`;
  const wires = await Promise.all(Array.from({ length: nodes }, () => openHeldWire(url)));
  const stores: Store[] = [];
  for (const wire of wires) stores.push(await openTestStore({ url: wire.url }, undefined, quotas, 1));
  const watcher = new pg.Client({ connectionString: postgres.url });
  await watcher.connect();
  watcher.on('error', () => undefined);
  let told: string[] = [];
  let rung = 0;

  /** Processes of the server that wait for a lock. What lets one go on has marked its lock as granted before it answers. */
  async function waiting(): Promise<ReadonlySet<number>> {
    const { rows } = await watcher.query('select pid from pg_locks where not granted');
    return new Set(rows.map(({ pid }) => Number(pid)));
  }

  return {
    name: 'postgres',
    stores,
    async query(sql) {
      const { rows } = await watcher.query(sql);
      return rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, asValue(value)])));
    },
    async interleave(works, chance, faults) {
      for (const wire of wires) wire.free = false;
      const ended = new Set<HeldWire>();
      const all = Promise.all(
        works.map(async (work, index) => {
          const wire = wires[index];
          if (wire === undefined) throw new Error('there is a node for each work');
          try {
            await work();
          } finally {
            ended.add(wire);
          }
        }),
      );
      const broken = all.then(
        () => undefined,
        () => undefined,
      );
      try {
        await order({ wires, ended, waiting, chance, faults, tell: (line) => told.push(line) });
      } finally {
        for (const wire of wires) wire.free = true;
        await broken;
      }
      await all;
      // They take locks in one order.
      const rings = wires.reduce((sum, { deadlocks }) => sum + deadlocks, 0) - rung;
      rung += rings;
      if (rings > 0) throw new Violation('locks: transactions waited for each other');
    },
    trace() {
      const lines = told;
      told = [];
      return lines;
    },
    async close() {
      for (const store of stores) await store.close();
      for (const wire of wires) wire.close();
      await watcher.end();
      await postgres.close();
    },
  };
}

interface Ordering {
  readonly wires: readonly HeldWire[];
  readonly ended: ReadonlySet<HeldWire>;
  readonly waiting: () => Promise<ReadonlySet<number>>;
  readonly chance: Chance;
  readonly faults: Faults;
  readonly tell: (line: string) => void;
}

/** Until all have ended: waits until each has ended, asks for something, or waits for a lock; then lets one of those that ask go on. */
async function order({ wires, ended, waiting, chance, faults, tell }: Ordering): Promise<void> {
  let since = performance.now();
  while (ended.size < wires.length) {
    if (performance.now() - since > patienceMs)
      throw new Error(`nobody gets on: ${wires.map(({ held, unanswered }) => held ?? unanswered).join(', ')}`);
    const locked = await atRest({ wires, ended, waiting });
    if (locked === null) continue;
    const ready = wires.filter((wire) => wire.held !== null);
    if (ready.length === 0) {
      // All wait for locks, for each other or not: the server tells one of them to give up.
      await sleep(5);
      continue;
    }
    const wire = chance.pick(ready);
    const text = wire.held ?? '';
    const fate = fateOf(text, chance, faults);
    const others = wires.flatMap((each, index) => (locked.has(each.unanswered ?? 0) ? [`n${index} waits`] : []));
    tell(
      `n${wires.indexOf(wire)} ${fate === 'passes' ? '' : `(${fate}) `}${text}${others.length === 0 ? '' : `   [${others.join(', ')}]`}`,
    );
    wire.pass(fate);
    since = performance.now();
  }
}

function fateOf(text: string, chance: Chance, { lostAnswers, cuts }: Faults): Fate {
  const draw = chance.next();
  if (text === 'commit') return draw < lostAnswers ? 'answer lost' : 'passes';
  return draw < cuts ? 'never arrives' : 'passes';
}

/** Those that wait for locks, once everybody has ended, asks for something, or does; null after a moment in which somebody did something else. */
async function atRest({ wires, ended, waiting }: Pick<Ordering, 'wires' | 'ended' | 'waiting'>): Promise<ReadonlySet<number> | null> {
  const active = wires.filter((wire) => !ended.has(wire) && wire.held === null);
  if (active.length === 0) return new Set();
  // Most statements take less than this.
  await sleep(1);
  const open = wires.filter((wire) => !ended.has(wire) && wire.held === null);
  if (open.length === 0) return new Set();
  if (open.some((wire) => wire.unanswered === null)) return null;
  const locked = await waiting();
  return open.every((wire) => wire.held !== null || locked.has(wire.unanswered ?? 0)) ? locked : null;
}

function asValue(value: unknown): string | number | null {
  // The watcher has no parser of 64 bits: as the driver, whose numbers are all safe.
  return typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : (value as string | number | null);
}
