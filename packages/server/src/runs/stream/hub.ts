import type { Bus } from '#bus';
import type { Clock, Timers } from '#core';
import { type Channel, ChannelState } from './channel.ts';
import { LocalChannel } from './local.ts';
import { createRemote, type Following } from './remote.ts';
import type { StreamSettings } from './settings.ts';

export interface StreamHub {
  /** For the process that drives the run. */
  openLocal(key: string): LocalChannel;
  /** Of a run that is driven here and goes on behind event `seq`; null of any other. */
  driven(key: string, seq: number): { readonly lastSeq: number; readonly ended: false } | null;
  /** For a follower; `release` when it leaves. */
  follow(key: string): { readonly channel: Channel; release(): void };
  /**
   * A follower found in the log what it had not heard of: whoever drives the run may have begun after it said that it follows, and
   * is told again.
   */
  missed(key: string): void;
  /** How long a follower may wait before it looks into the store by itself. */
  pollMs(channel: Channel): number;
  readonly followers: number;
  readonly settings: StreamSettings;
  close(): void;
}

export interface StreamHubOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly settings: StreamSettings;
}

/** Joins the executor of a run with its followers in this process, and over the bus with those in others. */
export function createStreamHub({ bus, clock, timers, settings }: StreamHubOptions): StreamHub {
  const channels = new Map<string, ChannelState>();
  /** Channels that hear of a run that is driven elsewhere. */
  const heard = new Map<ChannelState, Following>();
  const remote = createRemote({ bus, interestMs: settings.interestMs, clock, timers, find: (key) => channels.get(key) });
  let followers = 0;

  function channelOf(key: string): ChannelState {
    let channel = channels.get(key);
    if (channel === undefined) {
      channel = new ChannelState(key, settings);
      channels.set(key, channel);
    }
    return channel;
  }

  function hear(channel: ChannelState): void {
    const following = heard.get(channel);
    if (following === undefined) heard.set(channel, remote.follow(channel));
    else following.announce();
  }

  function dropIfIdle(channel: ChannelState): void {
    if (channel.owners > 0 || channel.followers > 0) return;
    heard.get(channel)?.end();
    heard.delete(channel);
    remote.forget(channel);
    channels.delete(channel.key);
  }

  return {
    openLocal(key) {
      const channel = channelOf(key);
      // What was heard of the text may lack its end, and from now on nobody hears the rest: it is in the log.
      if (channel.owners === 0) channel.live = null;
      channel.owners += 1;
      return new LocalChannel({
        channel,
        remote,
        clock,
        timers,
        coalesceMs: settings.coalesceMs,
        onClose() {
          channel.owners -= 1;
          if (channel.owners === 0 && channel.followers > 0) hear(channel);
          channel.notify();
          dropIfIdle(channel);
        },
      });
    },
    driven(key, seq) {
      const channel = channels.get(key);
      if (channel === undefined || !channel.local || channel.atRest || channel.lastSeq < seq) return null;
      return { lastSeq: channel.lastSeq, ended: false };
    },
    follow(key) {
      const channel = channelOf(key);
      channel.followers += 1;
      followers += 1;
      if (channel.owners === 0) hear(channel);
      let left = false;
      return {
        channel,
        release() {
          if (left) return;
          left = true;
          channel.followers -= 1;
          followers -= 1;
          dropIfIdle(channel);
        },
      };
    },
    missed(key) {
      const channel = channels.get(key);
      if (channel !== undefined && !channel.local) heard.get(channel)?.announce();
    },
    settings,
    pollMs: ({ local }) => (local ? settings.localPollMs : bus.spansProcesses ? settings.busPollMs : settings.logPollMs),
    get followers() {
      return followers;
    },
    close() {
      remote.close();
      for (const following of heard.values()) following.end();
      heard.clear();
      for (const channel of channels.values()) channel.notify();
      channels.clear();
    },
  };
}
