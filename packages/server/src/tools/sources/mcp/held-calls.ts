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

/** Calls that are under way at servers of the former revision while a person is asked: the process holds them, and its end ends them. */
export interface HeldCalls {
  hasRoom(tenantId: string): boolean;
  /** Until it is taken, its run has ended or so much time has passed. */
  hold(key: CallKey, conversation: Conversation, forMs: number): void;
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
    hasRoom(tenantId) {
      const own = [...held.values()].filter(({ key }) => key.tenantId === tenantId).length;
      return !isClosed && own < maxOfTenant && held.size < maxInAll;
    },
    hold(key, conversation, forMs) {
      const id = idOfCall(key);
      end(id, new NexusError('conflict', 'the call was begun anew'));
      const late = new NexusError('tool_timeout', 'the MCP server waited too long for an answer');
      const cancel = timers.after(Math.min(forMs, longestMs), () => end(id, late));
      held.set(id, { key, conversation, cancel });
      lookOften();
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
      for (const id of [...held.keys()]) end(id, new NexusError('unavailable', 'the MCP servers are closed'));
    },
  };
}

function idOfCall({ tenantId, runId, callId }: CallKey): string {
  return JSON.stringify([tenantId, runId, callId]);
}
