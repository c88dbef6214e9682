import type { Asking } from './asking.ts';
import type { Chance } from './chance.ts';
import { tellFault } from './fault-words.ts';
import { calm } from './faulty-store.ts';
import { createNode, type Node } from './node.ts';
import { person } from './person.ts';
import type { Fault, Plan } from './plan.ts';
import type { Surroundings } from './surroundings.ts';
import type { BusWeather } from './wires.ts';

/** The nodes, what becomes of them, and of the ways between them. */
export interface Cluster {
  boot(): void;
  strike(fault: Fault, asking: Asking): void;
  /** From now on nothing more goes wrong, and every node is up, or soon will be. */
  calmDown(): void;
  live(): readonly Node[];
  /** Nothing of it happens any more. */
  end(): void;
}

export function createCluster(plan: Plan, chance: Chance, surroundings: Surroundings, bus: BusWeather): Cluster {
  const { world } = surroundings;
  const nodes: (Node | null)[] = plan.wrongByMs.map(() => null);
  const begun = nodes.map(() => 0);
  const live = () => nodes.filter((node): node is Node => node !== null && !node.gone);

  /** A new process in the place of one that is gone. It tries again, as whatever keeps processes up does. */
  function boot(index: number): void {
    if (nodes[index]?.gone === false) return;
    const times = (begun[index] ?? 0) + 1;
    begun[index] = times;
    const name = `n${index}.${times}`;
    const node = createNode(name, plan.wrongByMs[index] ?? 0, chance.fork(name), surroundings);
    nodes[index] = node;
    world.after(5, node, () => {
      node.start().catch((error: unknown) => {
        world.say(name, `did not start: ${String(error)}`);
        node.gone = true;
        world.after(1_000, null, () => boot(index));
      });
    });
  }

  function strike(fault: Fault, asking: Asking): void {
    world.say(...tellFault(fault));
    const node = 'node' in fault && fault.node !== null ? nodes[fault.node] : null;
    switch (fault.kind) {
      case 'crash':
        node?.crash();
        world.after(fault.downMs, null, () => boot(fault.node));
        return;
      case 'stop':
        if (node?.isReady === true) void node.stop().then(() => world.after(fault.downMs, null, () => boot(fault.node)));
        return;
      case 'pause':
        if (node !== null && node !== undefined) node.stillUntil = Math.max(node.stillUntil, world.now + fault.ms);
        return;
      case 'clock':
        node?.clock.set(fault.byMs);
        return;
      case 'silence':
        (node ?? surroundings).weather.silentUntil = world.now + fault.ms;
        return;
      case 'rough':
        Object.assign((node ?? surroundings).weather, {
          roughUntil: world.now + fault.ms,
          lostAnswers: fault.lost,
          refusals: fault.refused,
        });
        return;
      case 'bus':
        Object.assign(bus, { roughUntil: world.now + fault.ms, lost: fault.lost, doubled: fault.doubled });
        return;
      case 'cut':
        bus.cutUntil = Math.max(bus.cutUntil, world.now + fault.ms);
        return;
      case 'policy':
        surroundings.policies.forbid(fault.tool, fault.ms);
        return;
      case 'leap':
        surroundings.leapt.byMs += fault.byMs;
        return;
      case 'limit': {
        const { scope, unit, window, limit } = fault;
        asking.act('limit', async () => {
          await asking.ask('limit', ({ budgets }) => budgets.set(person, { scope, unit, window, limit }));
        });
        return;
      }
      default:
        fault satisfies never;
    }
  }

  return {
    boot() {
      for (const index of nodes.keys()) boot(index);
    },
    strike,
    calmDown() {
      Object.assign(surroundings.weather, calm());
      surroundings.policies.calmDown();
      surroundings.contents.calmDown();
      Object.assign(bus, { roughUntil: 0, cutUntil: plan.hasBus ? 0 : Number.POSITIVE_INFINITY });
      for (const [index, node] of nodes.entries()) {
        if (node === null) continue;
        Object.assign(node.weather, calm());
        if (node.gone) boot(index);
      }
    },
    live,
    end() {
      for (const node of live()) node.gone = true;
    },
  };
}
