import { NexusError } from '#core';
import type { Chance } from './chance.ts';
import type { Node } from './node.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

export interface AskingOptions {
  readonly world: World;
  readonly chance: Chance;
  /** Those that serve now. */
  readonly nodes: () => readonly Node[];
}

/** How clients reach the cluster: some node that serves, and another one when nothing comes back. */
export interface Asking extends AskingOptions {
  sleep(ms: number): Promise<void>;
  until(at: number): Promise<void>;
  /** Asks one node, once; null when none serves. */
  once<T>(what: string, work: (node: Node) => Promise<T>): Promise<T | null>;
  /** Rejects with what a node said that is not worth trying again; `unavailable` when none has answered. */
  ask<T>(what: string, work: (node: Node) => Promise<T>): Promise<T>;
  /** Does something that may be refused. What is wrong ends the world. */
  act(what: string, work: () => Promise<void>): void;
  /** Nothing that was begun by {@link Asking.act} is under way. */
  readonly idle: boolean;
}

const patienceMs = 12_000;
const attempts = 60;
const pauseMs = 700;

export function createAsking({ world, chance, nodes }: AskingOptions): Asking {
  let busy = 0;
  const sleep = (ms: number) => new Promise<void>((resolve) => void world.after(ms, null, resolve));

  function request<T>(node: Node, work: (node: Node) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = world.after(patienceMs, null, () => reject(new NexusError('unavailable', 'nothing came back')));
      const answer = (settle: () => void) =>
        world.after(1 + chance.next() * 3, node, () => {
          cancel();
          settle();
        });
      world.after(1 + chance.next() * 3, node, () => {
        work(node).then(
          (result) => answer(() => resolve(result)),
          (error: unknown) => answer(() => reject(error)),
        );
      });
    });
  }

  async function once<T>(what: string, work: (node: Node) => Promise<T>): Promise<T | null> {
    const ready = nodes();
    if (ready.length === 0) return null;
    const node = chance.pick(ready);
    try {
      return await request(node, work);
    } catch (error) {
      if (error instanceof NexusError && error.code === 'internal')
        throw new Violation(`client: ${what} of ${node.name} was answered: ${error.message} ${String(error.cause ?? '')}`);
      throw error;
    }
  }

  return {
    ...{ world, chance, nodes, sleep, once },
    until: (at) => sleep(at - world.now),
    async ask<T>(what: string, work: (node: Node) => Promise<T>): Promise<T> {
      for (let attempt = 1; ; attempt++) {
        try {
          const answer = await once(what, async (node) => ({ of: await work(node) }));
          if (answer !== null) return answer.of;
        } catch (error) {
          if (!(error instanceof NexusError)) throw error;
          if (!(error.retryable || error.code === 'unavailable') || attempt >= attempts) throw error;
        }
        if (attempt >= attempts) throw new NexusError('unavailable', `${what}: no node has answered`);
        await sleep(pauseMs * (0.5 + chance.next()));
      }
    },
    act(what, work) {
      busy += 1;
      work()
        .catch((error: unknown) => {
          if (error instanceof NexusError) world.say('client', `${what}: ${error.code}`);
          else world.fail(error);
        })
        .finally(() => {
          busy -= 1;
        });
    },
    get idle() {
      return busy === 0;
    },
  };
}
