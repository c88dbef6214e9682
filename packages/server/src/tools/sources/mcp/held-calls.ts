import { type Cancel, NexusError, type Timers } from '#core';
import type { Conversation } from './conversation.ts';

export interface HeldCallsOptions {
  readonly timers: Pick<Timers, 'after' | 'every'>;
  /** Whether a run has ended, so that nobody goes on with what it waited for. */
  readonly isRunOver: (tenantId: string, runId: string) => Promise<boolean>;
}

interface CallKey {
  readonly tenantId: string;
  readonly runId: string;
  readonly callId: string;
}

/** Room for one conversation, before it is known whether it will wait. */
interface HeldPlace {
  /** Until it is taken, its run has ended or so much time has passed. */
  hold(key: CallKey, conversation: Conversation, forMs: number): void;
  /** It is not needed. After it was used this does nothing. */
  giveBack(): void;
}

/** Calls that are under way at servers of the former revision while a person is asked: the process holds them, and its end ends them. */
export interface HeldCalls {
  /** A place for one more, which counts from now on; null where there is none. */
  reserve(tenantId: string): HeldPlace | null;
  /** Undefined: this process does not hold it any more, or another one did. */
  take(key: CallKey): Conversation | undefined;
  close(): void;
}

const maxOfTenant = 20;
const maxInAll = 200;
const longestMs = 86_400_000;
const lookMs = 5_000;

export function createHeldCalls({ timers, isRunOver }: HeldCallsOptions): HeldCalls {
  const held = new Map<string, { readonly key: CallKey; readonly conversation: Conversation; readonly cancel: Cancel }>();
  /** Places that nothing is held in yet: many calls ask at the same moment. */
  const promised = new Set<Pick<CallKey, 'tenantId'>>();
  let cancelLook: Cancel | null = null;
  let isLooking = false;
  let isClosed = false;

  function end(id: string, reason: NexusError): void {
    const entry = held.get(id);
    held.delete(id);
    entry?.cancel();
    entry?.conversation.abort(reason);
  }

  function lookOften(): void {
    cancelLook ??= timers.every(lookMs, () => {
      if (isLooking) return;
      isLooking = true;
      void look().finally(() => {
        isLooking = false;
      });
    });
  }

  async function look(): Promise<void> {
    for (const [id, { key }] of [...held]) {
      const isOver = await isRunOver(key.tenantId, key.runId).catch(() => false); // it is looked again
      if (isOver) end(id, new NexusError('cancelled', 'the run has ended'));
    }
    if (held.size > 0) return;
    cancelLook?.();
    cancelLook = null;
  }

  return {
    reserve(tenantId) {
      const used = [...promised, ...[...held.values()].map(({ key }) => key)];
      const own = used.filter((each) => each.tenantId === tenantId).length;
      if (isClosed || own >= maxOfTenant || used.length >= maxInAll) return null;
      const place = { tenantId };
      promised.add(place);
      return {
        giveBack: () => void promised.delete(place),
        hold(key, conversation, forMs) {
          promised.delete(place);
          if (isClosed) return conversation.abort(closed());
          const id = idOfCall(key);
          end(id, new NexusError('conflict', 'the call was begun anew'));
          const late = new NexusError('tool_timeout', 'the MCP server waited too long for an answer');
          const cancel = timers.after(Math.min(forMs, longestMs), () => end(id, late));
          held.set(id, { key, conversation, cancel });
          lookOften();
        },
      };
    },
    take(key) {
      const id = idOfCall(key);
      const entry = held.get(id);
      held.delete(id);
      entry?.cancel();
      return entry?.conversation;
    },
    close() {
      isClosed = true;
      cancelLook?.();
      for (const id of [...held.keys()]) end(id, closed());
    },
  };
}

function closed(): NexusError {
  return new NexusError('unavailable', 'the MCP servers are closed');
}

function idOfCall({ tenantId, runId, callId }: CallKey): string {
  return JSON.stringify([tenantId, runId, callId]);
}
