import { randomUUID } from 'node:crypto';
import type { Redis as RedisConnection } from 'ioredis';
import type { Bus } from '../contract.ts';
import { createMemoryBus } from './memory.ts';
import { answerTimeoutMs, keepAsking, type RemoteBusOptions } from './remote.ts';

const prefix = 'nexus:bus:';

/**
 * The bus over Redis publish/subscribe, a channel for each topic that somebody listens to. Both connections come back
 * by themselves and subscribe again; what is published while Redis is away reaches this process only.
 */
export async function createRedisBus({ url, onError, onFailed, onWorked }: RemoteBusOptions): Promise<Bus> {
  const { Redis } = await import('ioredis');
  const local = createMemoryBus({ onError });
  const self = `${randomUUID()} `;
  const options = {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    connectTimeout: answerTimeoutMs,
    socketTimeout: answerTimeoutMs,
    retryStrategy: (attempt: number) => Math.min(5000, 50 * 2 ** Math.min(attempt, 7)),
  };
  const publisher = new Redis(url, options);
  // Subscribing again by itself, it would end the process where that is refused, and never try again.
  const subscriber = new Redis(url, { ...options, autoResubscribe: false });
  const listeners = new Map<string, number>();
  /** Topics that the server has confirmed on the connection that stands. */
  const confirmed = new Set<string>();

  /** Asks for the topics that somebody listens to and that are not confirmed. */
  async function subscribeMissing(): Promise<void> {
    if (subscriber.status !== 'ready') return;
    const missing = [...listeners.keys()].filter((topic) => !confirmed.has(topic));
    if (missing.length === 0) return;
    await subscriber.subscribe(...missing.map((topic) => prefix + topic));
    for (const topic of missing) if (listeners.has(topic)) confirmed.add(topic);
  }

  publisher.on('error', onFailed);
  subscriber.on('error', onFailed);
  subscriber.on('close', () => confirmed.clear());
  subscriber.on('ready', () => void subscribeMissing().catch(onFailed));
  subscriber.on('message', (name: string, payload: string) => {
    if (!payload.startsWith(self)) local.deliver(name.slice(prefix.length), payload.slice(self.length));
  });
  try {
    await Promise.all([publisher.connect(), subscriber.connect()]);
  } catch (error) {
    publisher.disconnect();
    subscriber.disconnect();
    throw error;
  }
  // One that only listens has nothing that it waits for: asked, it does, and is given up when nothing comes.
  const both = [publisher, subscriber];
  const stopAsking = keepAsking(
    () => Promise.all([...both.map((connection) => connection.status === 'ready' && connection.ping()), subscribeMissing()]),
    {
      worked: () => both.every(({ status }) => status === 'ready') && onWorked(),
      failed: onFailed,
    },
  );

  return {
    spansProcesses: true,
    publish(topic, message) {
      local.deliver(topic, message);
      if (publisher.status === 'ready') publisher.publish(prefix + topic, self + message).catch(onFailed);
    },
    subscribe(topic, listener) {
      const end = local.subscribe(topic, listener);
      const count = listeners.get(topic) ?? 0;
      listeners.set(topic, count + 1);
      if (count === 0) subscribeMissing().catch(onFailed);
      let ended = false;
      return () => {
        if (ended) return;
        ended = true;
        end();
        const left = (listeners.get(topic) ?? 1) - 1;
        if (left > 0) listeners.set(topic, left);
        else {
          listeners.delete(topic);
          confirmed.delete(topic);
          if (subscriber.status === 'ready') subscriber.unsubscribe(prefix + topic).catch(onFailed);
        }
      };
    },
    async close() {
      stopAsking();
      await Promise.all(both.map(leave));
      await local.close();
    },
  };
}

/** Takes leave of a server that is there. To any other, what still waits to be sent would be waited for without end. */
async function leave(connection: RedisConnection): Promise<void> {
  if (connection.status === 'ready') await connection.quit().catch(() => undefined); // it was lost meanwhile
  connection.disconnect();
}
