import { type DefinitionKind, type DefinitionOverview, type DefinitionSet, dictionary, type NodeStatus } from '@nexus-agent/protocol';
import { type Clock, NexusError, type Timers } from '#core';
import type { Principal } from '#identity';
import type { PolicyEngine } from '#policy';
import type { DefinitionStore } from '#storage';
import type { Logger } from '#telemetry';
import { FollowedDefinitions, type FollowedOptions } from './followed-definitions.ts';
import type { Nodes } from './nodes.ts';
import { patientFolder } from './patient-folder.ts';

/** The operator's policies and agents, which are the same on all nodes of a database. */
export interface Definitions {
  show(principal: Principal): Promise<DefinitionOverview>;
  /** Makes what lies in the folder of this node the active version. Throws `conflict` for files that cannot be used. */
  import(principal: Principal, kind: DefinitionKind, options: { readonly allowEmpty: boolean }): Promise<DefinitionSet>;
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

export interface DefinitionsOptions extends Omit<FollowedOptions, 'kind' | 'folder' | 'prepare' | 'store'> {
  readonly store: DefinitionStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly kinds: Readonly<Record<DefinitionKind, Pick<FollowedOptions, 'folder' | 'prepare'>>>;
  readonly policy: Pick<PolicyEngine, 'version'>;
  readonly nodes: Nodes;
  readonly pollMs: number;
}

/**
 * Reads the folders, imports what is new, puts the active versions to use, and follows both from then on. Throws `config_invalid`
 * when a folder or an active version cannot be used.
 */
export async function openDefinitions(options: DefinitionsOptions): Promise<DefinitionsOfNode> {
  const { store, timers, logger, kinds, policy, nodes, pollMs } = options;
  const followed = (kind: DefinitionKind) => {
    const { folder, prepare } = kinds[kind];
    return new FollowedDefinitions({ ...options, kind, prepare, folder: patientFolder(folder, timers) });
  };
  const policies = followed('policies');
  const agents = followed('agents');
  const sets = dictionary({ policies, agents });

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

  const report = () => nodes.report({ policies: summaryOf(policies), agents: summaryOf(agents) });

  let trouble = '';
  /** What fails keeps nothing else from being done, unless nothing else can be. */
  async function look(steps: readonly (() => Promise<void>)[]): Promise<void> {
    let failure: unknown;
    for (const step of [...steps, follow, report]) {
      try {
        await step();
      } catch (error) {
        failure ??= error;
        if (error instanceof NexusError && error.code === 'storage_unavailable') break;
      }
    }
    const why = failure === undefined ? '' : failure instanceof Error ? failure.message : String(failure);
    if (why === trouble) return;
    trouble = why;
    if (why === '') logger.info({}, 'definitions are followed again');
    else logger.warn({ err: failure }, 'definitions cannot be followed at the moment; the ones in use stay');
  }

  await report();
  let looking = false;
  const cancel = timers.every(pollMs, () => {
    if (looking) return;
    looking = true;
    void inTurn(() => look([() => policies.scan(), () => agents.scan()])).finally(() => {
      looking = false;
    });
  });

  return {
    show: () =>
      inTurn(async () => {
        await follow();
        return { policies: { ...policies.view(), policyVersion: policy.version }, agents: agents.view(), nodes: await nodes.list() };
      }),
    import: (_principal, kind, request) =>
      inTurn(async () => {
        await sets[kind].import(request);
        await report();
        return { ...sets[kind].view(), ...(kind === 'policies' ? { policyVersion: policy.version } : {}) };
      }),
    reload: () =>
      inTurn(async () => {
        await look([() => policies.reread(), () => agents.reread()]);
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
      if (trouble === '') await nodes.forget().catch(() => undefined); // it is forgotten by itself in a minute
    },
  };
}

function summaryOf({ inUse, folderState }: FollowedDefinitions): NodeStatus['policies'] {
  return { inUse, folder: folderState };
}
