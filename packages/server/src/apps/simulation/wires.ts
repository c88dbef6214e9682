import type { Bus } from '#bus';
import { createMemoryBus } from '#bus/drivers';
import type { Chance } from './chance.ts';
import type { Owner, World } from './world.ts';

/** What becomes of what nodes tell one another. */
export interface BusWeather {
  /** Until this world time no node hears of another. */
  cutUntil: number;
  /** Until this world time, so likely is a message lost, or comes twice. */
  roughUntil: number;
  lost: number;
  doubled: number;
}

/** The messages between nodes: late, lost and doubled, but of one topic never in another order than they were sent. */
export interface Wires {
  connect(owner: Owner): Bus;
}

const way = { leastMs: 0.2, mostMs: 5, slowMs: 2_000, slow: 0.02 };

export function createWires(world: World, weather: BusWeather, chance: Chance): Wires {
  const ends = new Map<Owner, ReturnType<typeof createMemoryBus>>();
  const lastDue = new Map<string, number>();

  function send(from: Owner, to: Owner, deliver: () => void, topic: string): void {
    if (weather.cutUntil > world.now) return;
    const isRough = weather.roughUntil > world.now;
    if (isRough && chance.hits(weather.lost)) return;
    const key = `${from.name} ${to.name} ${topic}`;
    for (let copies = isRough && chance.hits(weather.doubled) ? 2 : 1; copies > 0; copies--) {
      const wayMs = chance.hits(way.slow) ? chance.next() * way.slowMs : way.leastMs + chance.next() * (way.mostMs - way.leastMs);
      const due = Math.max(lastDue.get(key) ?? 0, world.now + wayMs);
      lastDue.set(key, due);
      world.after(due - world.now, to, deliver);
    }
  }

  return {
    connect(owner) {
      const local = createMemoryBus({ onError: (error) => world.fail(error) });
      ends.set(owner, local);
      return {
        spansProcesses: true,
        publish(topic, message) {
          local.deliver(topic, message);
          for (const [other, end] of ends) {
            if (other.gone) ends.delete(other);
            else if (other !== owner) send(owner, other, () => end.deliver(topic, message), topic);
          }
        },
        subscribe: (topic, listener) => local.subscribe(topic, listener),
        async close() {
          ends.delete(owner);
          await local.close();
        },
      };
    },
  };
}
