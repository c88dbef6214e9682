import { NodeStatus } from '@nexus-agent/protocol';
import { type Clock, toTimestamp } from '#core';
import type { KeySecrets } from '#identity';
import type { DefinitionStore } from '#storage';
import type { Logger } from '#telemetry';

export interface NodesOptions {
  readonly store: Pick<DefinitionStore, 'reportNode' | 'forgetNode' | 'listNodes'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly secrets: KeySecrets;
  /** This one; the name is for people. */
  readonly node: { readonly id: string; readonly name: string };
}

/** What nodes say of themselves to one another, and to people. */
export interface Nodes {
  /** Says what this node decides by, when that has changed and every few seconds. */
  report(definitions: Pick<NodeStatus, 'policies' | 'agents'>): Promise<void>;
  /** Those that live, this one among them. */
  list(): Promise<NodeStatus[]>;
  forget(): Promise<void>;
}

const reportMs = 3_000;
/** A node that has said nothing for so long is not shown, and then forgotten. */
const shownMs = 15_000;
const forgottenMs = 60_000;

const Said = NodeStatus.pick({ policies: true, agents: true, keySecret: true });

export function createNodes({ store, clock, logger, secrets, node }: NodesOptions): Nodes {
  let reported = '';
  let reportedAt = Number.NEGATIVE_INFINITY;
  let strangers = '';

  async function list(): Promise<NodeStatus[]> {
    const rows = await store.listNodes(clock.now() - shownMs);
    return rows.flatMap(({ nodeId, name, status, seenAt }) => {
      const said = Said.safeParse(status); // of another version of the program, perhaps
      return said.success ? [{ name, self: nodeId === node.id, seenAt: toTimestamp(seenAt), ...said.data }] : [];
    });
  }

  /** Keys that are made on a node with a secret of its own are refused here. */
  async function tellStrangers(): Promise<void> {
    const others = (await list()).filter(({ self }) => !self);
    const unknown = () => others.filter(({ keySecret }) => secrets.of(keySecret).length === 0).map(({ name }) => name);
    if (unknown().length > 0) await secrets.refresh();
    const names = unknown();
    const told = strangers;
    strangers = names.join();
    if (names.length === 0 || strangers === told) return;
    logger.warn(
      { nodes: names },
      'API keys made on other nodes are refused here: give all nodes the same auth.keySecret (NEXUS_KEY_SECRET)',
    );
  }

  return {
    list,
    async report(definitions) {
      const status = { ...definitions, keySecret: secrets.current.fingerprint };
      const text = JSON.stringify(status);
      if (text === reported && clock.monotonic() - reportedAt < reportMs) return;
      const now = clock.now();
      await store.reportNode({ nodeId: node.id, name: node.name, status, seenAt: now }, now - forgottenMs);
      reported = text;
      reportedAt = clock.monotonic();
      await tellStrangers();
    },
    forget: () => store.forgetNode(node.id),
  };
}
