import type { TenantId } from '@nexus-agent/protocol';
import type { Timers } from '#core';
import type { Store, WorkerCallState } from '#storage';

/** A call of this process that waits for its worker. */
export interface WaitingCall {
  readonly tenantId: string;
  readonly callKey: string;
  /** The call stands so in the database; `null` when it is not there. */
  look(state: WorkerCallState | null): void;
  onOutput(text: string): void;
}

export interface WaitingCalls {
  /** Looked at now and then, and whenever there is news of it, until the result is called. */
  add(call: WaitingCall): () => void;
  find(tenantId: string, callKey: string): WaitingCall | undefined;
  /** There is news of it: it is looked at now. */
  refresh(tenantId: string, callKey: string): void;
  close(): Promise<void>;
}

/** How often a call is looked at of which nothing is heard. */
const lookMs = 1_000;
const batch = 500;

export function createWaitingCalls(options: {
  readonly store: Pick<Store, 'toolCallStates'>;
  readonly timers: Timers;
  readonly onError: (error: unknown) => void;
}): WaitingCalls {
  const { store, timers, onError } = options;
  const waiting = new Map<string, WaitingCall>();
  const looking = new Set<Promise<void>>();
  let sweeping = false;
  const keyOf = (tenantId: string, callKey: string) => `${tenantId}/${callKey}`;

  async function lookAt(calls: readonly WaitingCall[]): Promise<void> {
    const byTenant = Map.groupBy(calls, ({ tenantId }) => tenantId);
    for (const [tenantId, its] of byTenant) {
      for (let from = 0; from < its.length; from += batch) {
        const some = its.slice(from, from + batch);
        const states = await store.toolCallStates(
          tenantId as TenantId, // of a call of that tenant
          some.map(({ callKey }) => callKey),
        );
        const byKey = new Map(states.map((state) => [state.callKey, state]));
        for (const call of some) {
          const isStill = waiting.get(keyOf(tenantId, call.callKey)) === call;
          if (isStill) call.look(byKey.get(call.callKey) ?? null);
        }
      }
    }
  }

  function track(work: Promise<void>): void {
    const settled = work.catch(onError).finally(() => looking.delete(settled));
    looking.add(settled);
  }

  const stop = timers.every(lookMs, () => {
    if (waiting.size === 0 || sweeping) return;
    sweeping = true;
    track(
      lookAt([...waiting.values()]).finally(() => {
        sweeping = false;
      }),
    );
  });

  return {
    add(call) {
      const key = keyOf(call.tenantId, call.callKey);
      waiting.set(key, call);
      return () => {
        if (waiting.get(key) === call) waiting.delete(key);
      };
    },
    find: (tenantId, callKey) => waiting.get(keyOf(tenantId, callKey)),
    refresh(tenantId, callKey) {
      const call = waiting.get(keyOf(tenantId, callKey));
      if (call !== undefined) track(lookAt([call]));
    },
    async close() {
      stop();
      waiting.clear();
      await Promise.all(looking);
    },
  };
}
