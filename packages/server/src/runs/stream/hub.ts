import type { Bus, StoredEvent } from '#storage';
import { appendChunk, chunksAfter, type LiveText, type TextChunk, type TextKind } from './live-text.ts';
import { createOutputRing, type OutputRing } from './tool-output.ts';

const maxTailEvents = 64;
const maxTailChars = 64_000;
/** Keeps one message under the 8,000 bytes that Postgres allows a notification, whatever the characters. */
const maxBusTextChars = 1_800;
const interestMs = 30_000;

/** What this process knows of a run's stream. The log in the store is the truth; all of this may be lost at any time. */
export interface Channel {
  /** Highest event number known, 0 when none is. */
  readonly lastSeq: number;
  /** The run is driven by this process, so that nothing happens to it unseen. */
  readonly local: boolean;
  readonly live: LiveText | null;
  readonly outputs: Pick<OutputRing, 'last' | 'after'>;
  /** Events after `seq`, or null when they must be read from the store. */
  tailAfter(seq: number): readonly StoredEvent[] | null;
  /** Called at each change, until the returned function is called. */
  listen(listener: () => void): () => void;
}

type BusMessage =
  | { readonly t: 'event'; readonly seq: number }
  | { readonly t: 'output'; readonly seq: number; readonly step: number; readonly callId: string; readonly text: string }
  | {
      readonly t: 'delta';
      readonly seq: number;
      readonly step: number;
      readonly callId: string;
      readonly kind: TextKind;
      readonly offset: number;
      readonly text: string;
    };

interface ChannelState {
  readonly key: string;
  lastSeq: number;
  owners: number;
  followers: number;
  live: LiveText | null;
  readonly outputs: OutputRing;
  pending: { kind: TextKind; text: string }[];
  flushTimer: NodeJS.Timeout | null;
  flushedAt: number;
  tail: StoredEvent[];
  tailChars: number;
  readonly listeners: Set<() => void>;
  /** Other processes follow until then. */
  remoteUntil: number;
  unsubscribe: (() => void) | null;
}

/** What the executor of a run tells its followers. */
export interface LocalChannel {
  appended(events: readonly StoredEvent[]): void;
  /** A model call begins to stream; `seq` is that of its `model.started`. */
  begin(call: { readonly seq: number; readonly step: number; readonly callId: string }): void;
  delta(kind: TextKind, text: string): void;
  /** A tool says how far it is. */
  output(output: { readonly step: number; readonly callId: string; readonly text: string }): void;
  /** Hands on what is still held back. To be called before the call's end is written. */
  flush(): void;
  close(): void;
}

export interface StreamHub {
  /** For the process that drives the run. */
  openLocal(key: string): LocalChannel;
  /** For a follower; `release` when it leaves. */
  follow(key: string): { readonly channel: Channel; release(): void };
  /** How long a follower may wait before it looks into the store by itself. */
  pollMs(channel: Channel): number;
  readonly followers: number;
  /** Least time between two batches for one reader. */
  readonly coalesceMs: number;
  close(): void;
}

export interface StreamHubOptions {
  readonly bus: Bus;
  /** Deltas of this long are sent together. The first of a call is sent at once. */
  readonly coalesceMs: number;
  readonly now?: () => number;
}

/**
 * Joins the executor of a run with its followers in this process, and over the bus with those in others. A follower
 * in another process announces its interest; only then does the owner publish, and first what was streamed so far.
 */
export function createStreamHub({ bus, coalesceMs, now = Date.now }: StreamHubOptions): StreamHub {
  const channels = new Map<string, ChannelState>();
  let followers = 0;

  function stateOf(key: string): ChannelState {
    let state = channels.get(key);
    if (state === undefined) {
      state = {
        key,
        lastSeq: 0,
        owners: 0,
        followers: 0,
        live: null,
        outputs: createOutputRing(),
        pending: [],
        flushTimer: null,
        flushedAt: 0,
        tail: [],
        tailChars: 0,
        listeners: new Set(),
        remoteUntil: 0,
        unsubscribe: null,
      };
      channels.set(key, state);
    }
    return state;
  }

  function dropIfIdle(state: ChannelState): void {
    if (state.owners > 0 || state.followers > 0) return;
    if (state.flushTimer !== null) clearTimeout(state.flushTimer);
    state.unsubscribe?.();
    channels.delete(state.key);
  }

  function notify(state: ChannelState): void {
    for (const listener of state.listeners) listener();
  }

  function publish(state: ChannelState, message: BusMessage): void {
    bus.publish(`run:${state.key}`, JSON.stringify(message));
  }

  function publishChunk(state: ChannelState, live: LiveText, chunk: TextChunk): void {
    for (let start = 0; start < chunk.text.length; start += maxBusTextChars) {
      const text = chunk.text.slice(start, start + maxBusTextChars);
      publish(state, {
        t: 'delta',
        seq: live.seq,
        step: live.step,
        callId: live.callId,
        kind: chunk.kind,
        offset: chunk.offset + start,
        text,
      });
    }
  }

  function flush(state: ChannelState): void {
    if (state.flushTimer !== null) clearTimeout(state.flushTimer);
    state.flushTimer = null;
    const { live, pending } = state;
    if (live === null || pending.length === 0) return;
    state.pending = [];
    state.flushedAt = now();
    const remote = bus.spansProcesses && state.remoteUntil > state.flushedAt;
    for (const piece of pending) {
      const chunk: TextChunk = { kind: piece.kind, offset: live.length, text: piece.text };
      appendChunk(live, chunk);
      if (remote) publishChunk(state, live, chunk);
    }
    notify(state);
  }

  function receive(state: ChannelState, text: string): void {
    const message = JSON.parse(text) as BusMessage; // only hubs of this product publish on this topic
    state.lastSeq = Math.max(state.lastSeq, message.seq);
    if (message.t === 'output' && state.owners === 0) {
      state.outputs.add({ afterSeq: message.seq, step: message.step, callId: message.callId, text: message.text });
    }
    if (message.t === 'delta' && state.owners === 0) {
      if (state.live === null || state.live.seq < message.seq) {
        state.live = { seq: message.seq, step: message.step, callId: message.callId, chunks: [], length: 0 };
      }
      if (state.live.seq === message.seq && !appendChunk(state.live, message)) announce(state);
    }
    notify(state);
  }

  function announce(state: ChannelState): void {
    bus.publish('interest', JSON.stringify({ key: state.key, seq: state.live?.seq ?? 0, offset: state.live?.length ?? 0 }));
  }

  /** Whoever drives the run is elsewhere: followers here learn over the bus. */
  function listenRemotely(state: ChannelState): void {
    if (!bus.spansProcesses) return;
    state.unsubscribe ??= bus.subscribe(`run:${state.key}`, (text) => receive(state, text));
    announce(state);
  }

  const stopInterest = bus.spansProcesses
    ? bus.subscribe('interest', (text) => {
        const { key, seq, offset } = JSON.parse(text) as { key: string; seq: number; offset: number }; // see announce
        const state = channels.get(key);
        if (state === undefined || state.owners === 0) return;
        state.remoteUntil = now() + interestMs;
        publish(state, { t: 'event', seq: state.lastSeq });
        if (state.live === null) return;
        for (const chunk of chunksAfter(state.live.chunks, seq === state.live.seq ? offset : 0)) publishChunk(state, state.live, chunk);
      })
    : () => undefined;

  function append(state: ChannelState, events: readonly StoredEvent[]): void {
    for (const event of events) {
      // Another process wrote in between: what this one remembers from before is not the newest any more.
      if ((state.tail.at(-1)?.seq ?? 0) + 1 !== event.seq) {
        state.tail = [];
        state.tailChars = 0;
      }
      state.tail.push(event);
      state.tailChars += event.data.length;
      state.lastSeq = Math.max(state.lastSeq, event.seq);
    }
    while (state.tail.length > 1 && (state.tail.length > maxTailEvents || state.tailChars > maxTailChars)) {
      state.tailChars -= state.tail.shift()?.data.length ?? 0;
    }
    notify(state);
    if (bus.spansProcesses && state.remoteUntil > now()) publish(state, { t: 'event', seq: state.lastSeq });
  }

  return {
    openLocal(key) {
      const state = stateOf(key);
      state.owners += 1;
      let open = true;
      return {
        appended: (events) => append(state, events),
        begin({ seq, step, callId }) {
          state.live = { seq, step, callId, chunks: [], length: 0 };
          state.pending = [];
        },
        delta(kind, text) {
          const last = state.pending.at(-1);
          if (last?.kind === kind) last.text += text;
          else state.pending.push({ kind, text });
          if (state.flushTimer !== null) return;
          const waitMs = state.live?.length === 0 ? 0 : coalesceMs - (now() - state.flushedAt);
          if (waitMs <= 0) flush(state);
          else state.flushTimer = setTimeout(() => flush(state), waitMs);
        },
        output({ step, callId, text }) {
          const seq = state.lastSeq;
          state.outputs.add({ afterSeq: seq, step, callId, text });
          if (bus.spansProcesses && state.remoteUntil > now()) {
            for (let start = 0; start < text.length; start += maxBusTextChars) {
              publish(state, { t: 'output', seq, step, callId, text: text.slice(start, start + maxBusTextChars) });
            }
          }
          notify(state);
        },
        flush: () => flush(state),
        close() {
          if (!open) return;
          open = false;
          flush(state);
          state.owners -= 1;
          if (state.owners === 0 && state.followers > 0) listenRemotely(state);
          notify(state);
          dropIfIdle(state);
        },
      };
    },

    follow(key) {
      const state = stateOf(key);
      state.followers += 1;
      followers += 1;
      if (state.owners === 0) listenRemotely(state);
      const renew = bus.spansProcesses ? setInterval(() => state.owners === 0 && announce(state), interestMs / 3) : null;
      renew?.unref();
      let left = false;
      return {
        channel: {
          get lastSeq() {
            return state.lastSeq;
          },
          get local() {
            return state.owners > 0;
          },
          get live() {
            return state.live;
          },
          outputs: state.outputs,
          tailAfter(seq) {
            if (state.owners > 0 && state.lastSeq > 0 && state.lastSeq <= seq) return [];
            const [first] = state.tail;
            const last = state.tail.at(-1);
            if (first === undefined || last === undefined || first.seq > seq + 1 || last.seq <= seq) return null;
            return state.tail.slice(Math.max(0, seq + 1 - first.seq));
          },
          listen(listener) {
            state.listeners.add(listener);
            return () => state.listeners.delete(listener);
          },
        },
        release() {
          if (left) return;
          left = true;
          if (renew !== null) clearInterval(renew);
          state.followers -= 1;
          followers -= 1;
          dropIfIdle(state);
        },
      };
    },

    coalesceMs,
    pollMs: (channel) => (channel.local ? 5_000 : bus.spansProcesses ? 1_000 : 150),
    get followers() {
      return followers;
    },
    close() {
      stopInterest();
      for (const state of channels.values()) {
        if (state.flushTimer !== null) clearTimeout(state.flushTimer);
        state.unsubscribe?.();
        notify(state);
      }
      channels.clear();
    },
  };
}
