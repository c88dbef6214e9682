import type { DefinitionSet as DefinitionSetView, Definitions as DefinitionsView, NodeStatus } from '@nexus-agent/protocol';
import { type Clock, type Timers, toTimestamp } from '#core';
import type { KeySecrets, Principal } from '#identity';
import type { PolicyEngine } from '#policy';
import type { DefinitionKind, DefinitionStore } from '#storage';
import type { Logger } from '#telemetry';
import { DefinitionSet, type DefinitionSetOptions } from './definition-set.ts';

/** The operator's policies and agents, which are the same on all nodes of a database. */
export interface Definitions {
  show(principal: Principal): Promise<DefinitionsView>;
  /** Makes what lies in the folder of this node the active version. Throws `conflict` for files that cannot be used. */
  import(principal: Principal, kind: DefinitionKind, options: { readonly allowEmpty: boolean }): Promise<DefinitionSetView>;
}

/** The same as a part of a running node. */
export interface DefinitionsOfNode extends Definitions {
  /** Reads both folders now, without waiting until they rest. Never rejects: what is wrong goes to the log. */
  reload(): Promise<void>;
  /** How many policies and agents there are, and of which versions: for the log. */
  facts(): { readonly policies: number; readonly agents: number; readonly versions: Readonly<Record<DefinitionKind, number | null>> };
  /** Not ready while this node decides by other definitions than the active ones, because it cannot use them. */
  readiness(): { readonly ready: boolean; readonly reason?: string };
  close(): Promise<void>;
}

export interface DefinitionsOptions extends Omit<DefinitionSetOptions, 'kind' | 'folder' | 'prepare' | 'store'> {
  readonly store: DefinitionStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly kinds: Readonly<Record<DefinitionKind, Pick<DefinitionSetOptions, 'folder' | 'prepare'>>>;
  readonly policy: Pick<PolicyEngine, 'version'>;
  readonly secrets: KeySecrets;
  readonly nodeId: string;
  readonly pollMs: number;
}

const reportMs = 3_000;
/** A node that has said nothing for so long is not shown, and then forgotten. */
const shownMs = 15_000;
const forgottenMs = 60_000;

/**
 * Reads the folders, imports what is new, puts the active versions to use, and follows both from then on. Throws `config_invalid`
 * when a folder or an active version cannot be used.
 */
export async function openDefinitions(options: DefinitionsOptions): Promise<DefinitionsOfNode> {
  const { store, clock, timers, logger, kinds, policy, secrets, node, nodeId, pollMs } = options;
  const policies = new DefinitionSet({ ...options, kind: 'policies', ...kinds.policies });
  const agents = new DefinitionSet({ ...options, kind: 'agents', ...kinds.agents });
  const sets = { policies, agents };

  let last: Promise<unknown> = Promise.resolve();
  /** One thing at a time: what is read, imported and put to use belongs together. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = last.then(work);
    last = result.catch(() => undefined); // its caller hears of it
    return result;
  }

  async function follow(): Promise<void> {
    for (const head of await store.definitionHeads()) await sets[head.kind].follow(head);
  }

  const heads = await store.definitionHeads();
  for (const set of ['policies', 'agents'] as const) await sets[set].open(heads.find(({ kind }) => kind === set) ?? null);

  let reported = '';
  let reportedAt = Number.NEGATIVE_INFINITY;
  let strangers = '';
  async function report(): Promise<void> {
    const status = statusOf(policies, agents, secrets);
    const text = JSON.stringify(status);
    if (text === reported && clock.monotonic() - reportedAt < reportMs) return;
    const now = clock.now();
    await store.reportNode({ nodeId, name: node, status, seenAt: now }, now - forgottenMs);
    reported = text;
    reportedAt = clock.monotonic();
    await tellStrangers();
  }

  /** Keys made on such a node are refused here. */
  async function tellStrangers(): Promise<void> {
    const others = (await store.listNodes(clock.now() - shownMs)).filter((row) => row.nodeId !== nodeId);
    const unknown = () => others.filter(({ status }) => secrets.of((status as Status).keySecret).length === 0);
    if (unknown().length > 0) await secrets.refresh();
    const names = unknown().map(({ name }) => name);
    if (names.length > 0 && names.join() !== strangers) {
      logger.warn(
        { nodes: names },
        'API keys made on other nodes are refused here: give all nodes the same auth.keySecret (NEXUS_KEY_SECRET)',
      );
    }
    strangers = names.join();
  }

  let trouble = '';
  async function look(read: () => Promise<void>): Promise<void> {
    try {
      await read();
      await follow();
      await report();
      if (trouble !== '') logger.info({}, 'definitions are followed again');
      trouble = '';
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (why !== trouble) logger.warn({ err: error }, 'definitions cannot be followed at the moment; the ones in use stay');
      trouble = why;
    }
  }

  async function scan(): Promise<void> {
    await policies.scan();
    await agents.scan();
  }

  await report();
  let looking = false;
  const cancel = timers.every(pollMs, () => {
    if (looking) return;
    looking = true;
    void inTurn(() => look(scan)).finally(() => {
      looking = false;
    });
  });

  return {
    show: () =>
      inTurn(async () => {
        await follow();
        const rows = await store.listNodes(clock.now() - shownMs);
        return {
          policies: { ...policies.view(), policyVersion: policy.version },
          agents: agents.view(),
          nodes: rows.map(({ name, seenAt, status, ...row }) => ({
            name,
            self: row.nodeId === nodeId,
            seenAt: toTimestamp(seenAt),
            ...(status as Status), // written below
          })),
        };
      }),
    import: (_principal, kind, request) =>
      inTurn(async () => {
        await sets[kind].import(request);
        await report();
        return { ...sets[kind].view(), ...(kind === 'policies' ? { policyVersion: policy.version } : {}) };
      }),
    reload: () =>
      inTurn(async () => {
        await look(async () => {
          await policies.reread();
          await agents.reread();
        });
        logger.info({ policies: summaryOf(policies), agents: summaryOf(agents) }, 'the folders of definitions were read again');
      }),
    facts: () => ({ policies: policies.count, agents: agents.count, versions: { policies: policies.inUse, agents: agents.inUse } }),
    readiness() {
      const faulty = (['policies', 'agents'] as const).find((kind) => sets[kind].fault !== undefined);
      return faulty === undefined
        ? { ready: true }
        : { ready: false, reason: `the active ${faulty} cannot be used by this node: ${sets[faulty].fault}` };
    },
    async close() {
      cancel();
      await last;
      if (trouble === '') await store.forgetNode(nodeId).catch(() => undefined); // it is forgotten by itself in a minute
    },
  };
}

type Status = Pick<NodeStatus, 'policies' | 'agents' | 'keySecret'>;

function statusOf(policies: DefinitionSet, agents: DefinitionSet, secrets: KeySecrets): Status {
  return { policies: summaryOf(policies), agents: summaryOf(agents), keySecret: secrets.current.fingerprint };
}

function summaryOf({ inUse, folderState }: DefinitionSet): NodeStatus['policies'] {
  return { inUse, folder: folderState };
}
