import type { Cancel, Clock, Timers } from '#core';
import type { StoredEvent } from '#storage';
import type { ChannelState, StreamedCall } from './channel.ts';
import type { TextKind } from './live-text.ts';
import type { Remote } from './remote.ts';

/** What the executor of a run tells its followers. */
export interface LocalChannel {
  appended(events: readonly StoredEvent[]): void;
  /** A model call begins to stream. */
  begin(call: StreamedCall): void;
  delta(kind: TextKind, text: string): void;
  /** A tool says how far it is. */
  output(output: { readonly step: number; readonly callId: string; readonly text: string }): void;
  /** Hands on what is still held back. To be called before the call's end is written. */
  flush(): void;
  close(): void;
}

export interface LocalOptions {
  readonly channel: ChannelState;
  readonly remote: Remote;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly coalesceMs: number;
  readonly onClose: () => void;
}

/** The driving end of a channel. Deltas are held back a little and handed on together; the first of a call goes at once. */
export function createLocalChannel({ channel, remote, clock, timers, coalesceMs, onClose }: LocalOptions): LocalChannel {
  let pending: { kind: TextKind; text: string }[] = [];
  let cancelFlush: Cancel | null = null;
  let flushedAt = Number.NEGATIVE_INFINITY;
  let open = true;

  function flush(): void {
    cancelFlush?.();
    cancelFlush = null;
    if (channel.live === null || pending.length === 0) return;
    const pieces = pending;
    pending = [];
    flushedAt = clock.monotonic();
    for (const { kind, text } of pieces) {
      const chunk = channel.add(kind, text);
      if (chunk !== null) remote.tellText(channel, chunk);
    }
    channel.notify();
  }

  return {
    appended(events) {
      channel.append(events);
      channel.notify();
      remote.tellEvents(channel);
    },
    begin(call) {
      channel.begin(call);
      pending = [];
    },
    delta(kind, text) {
      const last = pending.at(-1);
      if (last?.kind === kind) last.text += text;
      else pending.push({ kind, text });
      if (cancelFlush !== null) return;
      const waitMs = channel.live?.length === 0 ? 0 : coalesceMs - (clock.monotonic() - flushedAt);
      if (waitMs <= 0) flush();
      else cancelFlush = timers.after(waitMs, flush);
    },
    output({ step, callId, text }) {
      channel.outputs.add({ afterSeq: channel.lastSeq, step, callId, text });
      remote.tellOutput(channel, { step, callId, text });
      channel.notify();
    },
    flush,
    close() {
      if (!open) return;
      open = false;
      flush();
      onClose();
    },
  };
}
