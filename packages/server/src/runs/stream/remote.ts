import { z } from 'zod';
import { type Bus, openTopic, openTopics } from '#bus';
import type { Clock, Timers } from '#core';
import type { ChannelState } from './channel.ts';
import { chunksAfter, type LiveChunk } from './live-text.ts';
import { piecesOf } from './pieces.ts';

/** Leaves room for the envelope under the 8,000 bytes that Postgres allows a notification. */
const maxTextBytes = 6_500;

/** An answer to a question for missing text may be on its way for so long. */
const askAgainMs = 200;

const call = { seq: z.int(), step: z.int(), callId: z.string() };
const RunMessage = z.discriminatedUnion('t', [
  z.object({ t: z.literal('event'), seq: z.int(), atRest: z.boolean().default(false) }),
  z.object({ t: z.literal('output'), ...call, text: z.string() }),
  z.object({ t: z.literal('delta'), ...call, kind: z.enum(['text', 'reasoning']), offset: z.int(), text: z.string() }),
]);
type RunMessage = z.infer<typeof RunMessage>;
const Interest = z.object({ key: z.string(), seq: z.int(), offset: z.int() });

/** Hears of a run that another process drives. */
export interface Following {
  /** Says again what this process has of the text, and that it wants the rest. */
  announce(): void;
  end(): void;
}

/** The same channel in other processes. Everything here may be lost: a follower then reads the log. */
export interface Remote {
  /** Whoever drives the run is elsewhere: followers here learn over the bus. */
  follow(channel: ChannelState): Following;
  /** To followers elsewhere, if there are any. */
  tellEvents(channel: ChannelState): void;
  tellText(channel: ChannelState, chunk: LiveChunk): void;
  tellOutput(channel: ChannelState, output: { readonly step: number; readonly callId: string; readonly text: string }): void;
  /** The channel is gone here. */
  forget(channel: ChannelState): void;
  close(): void;
}

export interface RemoteOptions {
  readonly bus: Bus;
  /** See {@link StreamSettings}. */
  readonly interestMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  /** A channel that this process has. */
  readonly find: (key: string) => ChannelState | undefined;
}

/**
 * A follower in another process announces its interest; only then does the owner publish, and first what was streamed so
 * far.
 */
export function createRemote({ bus, interestMs, clock, timers, find }: RemoteOptions): Remote {
  if (!bus.spansProcesses) return alone;
  const runs = openTopics(bus, 'run', RunMessage);
  const interests = openTopic(bus, 'interest', Interest);
  /** Channels that other processes follow, and until when. */
  const wanted = new Map<ChannelState, number>();

  function publish(channel: ChannelState, message: RunMessage): void {
    runs.publish(channel.key, message);
  }

  function isWanted(channel: ChannelState): boolean {
    const until = wanted.get(channel);
    return until !== undefined && until > clock.monotonic();
  }

  function publishText(channel: ChannelState, { kind, offset, text }: LiveChunk): void {
    const { live } = channel;
    if (live === null) return;
    const { seq, step, callId } = live;
    let at = offset;
    for (const piece of piecesOf(text, maxTextBytes)) {
      publish(channel, { t: 'delta', seq, step, callId, kind, offset: at, text: piece });
      at += piece.length;
    }
  }

  function announce({ key, live }: ChannelState): void {
    interests.publish({ key, seq: live?.seq ?? 0, offset: live?.length ?? 0 });
  }

  /** @param ask for what is missing of the text */
  function receive(channel: ChannelState, message: RunMessage, ask: () => void): void {
    channel.heardOf(message.seq, message.t === 'event' && message.atRest);
    if (!channel.local && message.t === 'output') {
      const { seq, step, callId, text } = message;
      channel.outputs.add({ afterSeq: seq, step, callId, text });
    }
    if (!channel.local && message.t === 'delta' && !channel.place(message, message)) ask();
    channel.notify();
  }

  const stopInterest = interests.subscribe((interest) => {
    const channel = find(interest.key);
    if (channel === undefined || !channel.local) return;
    wanted.set(channel, clock.monotonic() + interestMs);
    publish(channel, { t: 'event', seq: channel.lastSeq, atRest: channel.atRest });
    const { live } = channel;
    if (live === null) return;
    for (const chunk of chunksAfter(live.chunks, interest.seq === live.seq ? interest.offset : 0)) publishText(channel, chunk);
  });

  return {
    follow(channel) {
      let askedAt = Number.NEGATIVE_INFINITY;
      // Each piece behind a gap shows it again, and each answer may have gaps: asking for each would have every answer ask for more of them.
      const ask = () => {
        if (clock.monotonic() - askedAt < askAgainMs) return;
        askedAt = clock.monotonic();
        announce(channel);
      };
      const unsubscribe = runs.subscribe(channel.key, (message) => receive(channel, message, ask));
      const stopRenewing = timers.every(interestMs / 3, () => {
        if (!channel.local) announce(channel);
      });
      announce(channel);
      return {
        announce: () => announce(channel),
        end() {
          stopRenewing();
          unsubscribe();
        },
      };
    },
    tellEvents(channel) {
      if (isWanted(channel)) publish(channel, { t: 'event', seq: channel.lastSeq, atRest: channel.atRest });
    },
    tellText(channel, chunk) {
      if (isWanted(channel)) publishText(channel, chunk);
    },
    tellOutput(channel, { step, callId, text }) {
      if (!isWanted(channel)) return;
      for (const piece of piecesOf(text, maxTextBytes)) publish(channel, { t: 'output', seq: channel.lastSeq, step, callId, text: piece });
    },
    forget: (channel) => void wanted.delete(channel),
    close: stopInterest,
  };
}

const nothing = () => undefined;
/** No other process hears this bus. */
const alone: Remote = {
  follow: () => ({ announce: nothing, end: nothing }),
  tellEvents: nothing,
  tellText: nothing,
  tellOutput: nothing,
  forget: nothing,
  close: nothing,
};
