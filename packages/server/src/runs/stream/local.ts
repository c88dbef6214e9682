import type { Cancel, Clock, Timers } from '#core';
import type { StoredEvent } from '#storage';
import type { ChannelState, StreamedCall } from './channel.ts';
import type { TextKind } from './live-text.ts';
import type { Remote } from './remote.ts';

export interface LocalOptions {
  readonly channel: ChannelState;
  readonly remote: Remote;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly coalesceMs: number;
  readonly onClose: () => void;
}

/** The driving end of a channel: what the executor of a run tells its followers. Deltas are held back a little and handed on together; the first of a call goes at once. */
export class LocalChannel {
  readonly #options: LocalOptions;
  #pending: { kind: TextKind; text: string }[] = [];
  #cancelFlush: Cancel | null = null;
  #flushedAt = Number.NEGATIVE_INFINITY;
  #open = true;

  constructor(options: LocalOptions) {
    this.#options = options;
  }

  appended(events: readonly StoredEvent[]): void {
    const { channel, remote } = this.#options;
    channel.append(events);
    channel.notify();
    remote.tellEvents(channel);
  }

  /** A model call begins to stream. */
  begin(call: StreamedCall): void {
    this.#options.channel.begin(call);
    if (this.#pending.length > 0) this.#pending = [];
  }

  delta(kind: TextKind, text: string): void {
    const { channel, clock, timers, coalesceMs } = this.#options;
    const last = this.#pending.at(-1);
    if (last?.kind === kind) last.text += text;
    else this.#pending.push({ kind, text });
    if (this.#cancelFlush !== null) return;
    const waitMs = channel.live?.length === 0 ? 0 : coalesceMs - (clock.monotonic() - this.#flushedAt);
    if (waitMs <= 0) this.flush();
    else this.#cancelFlush = timers.after(waitMs, () => this.flush());
  }

  /** A tool says how far it is. */
  output({ step, callId, text }: { readonly step: number; readonly callId: string; readonly text: string }): void {
    const { channel, remote } = this.#options;
    channel.outputs.add({ afterSeq: channel.lastSeq, step, callId, text });
    remote.tellOutput(channel, { step, callId, text });
    channel.notify();
  }

  /** Hands on what is still held back. To be called before the call's end is written. */
  flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
    const { channel, remote, clock } = this.#options;
    if (channel.live === null || this.#pending.length === 0) return;
    const pieces = this.#pending;
    this.#pending = [];
    this.#flushedAt = clock.monotonic();
    for (const { kind, text } of pieces) {
      const chunk = channel.add(kind, text);
      if (chunk !== null) remote.tellText(channel, chunk);
    }
    channel.notify();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.flush();
    this.#options.onClose();
  }
}
