import { randomUUID } from 'node:crypto';
import { Socket } from 'node:net';
import type { Client } from 'pg';
import { systemTimers } from '#core';
import type { Bus } from '../contract.ts';
import { createMemoryBus } from './memory.ts';
import { answerTimeoutMs, closed, keepAsking, type RemoteBusOptions } from './remote.ts';

const channel = 'nexus_bus';
/** Postgres refuses payloads of 8000 bytes. */
const maxPayloadBytes = 7900;
const maxQueued = 10_000;
/** What is still to be sent when the bus is closed has so long. */
const goodbyeMs = 1_000;

/**
 * The bus over `LISTEN`/`NOTIFY`: one connection listens and publishes for the whole process. A message that does not
 * fit a notification is not sent to other processes, whose subscribers then tail the log; the same happens while the
 * connection is lost, or says nothing when it is asked; it is opened again for as long as the bus is open.
 */
export async function createPostgresBus({ url, onError, onFailed, onWorked }: RemoteBusOptions): Promise<Bus> {
  const { default: pg } = await import('pg');
  const local = createMemoryBus({ onError });
  const self = randomUUID();
  const closing = new AbortController();
  let client: Client | undefined;
  let socket = new Socket();
  let queue: string[] = [];
  let sent = 0;
  let flushing: Promise<void> | undefined;
  let reconnecting: Promise<void> | undefined;

  async function connect(): Promise<void> {
    const own = new Socket();
    const created = new pg.Client({
      stream: () => own,
      connectionString: url,
      keepAlive: true,
      application_name: 'nexus-agent bus',
      connectionTimeoutMillis: answerTimeoutMs,
    });
    created.on('notification', ({ payload }) => receive(payload));
    created.on('error', (error) => {
      onFailed(error);
      lose(created);
    });
    created.on('end', () => lose(created));
    try {
      await created.connect();
      await created.query(`listen ${channel}`);
    } catch (error) {
      created.removeAllListeners('end');
      own.destroy();
      throw error;
    }
    client = created;
    socket = own;
    onWorked();
  }

  function receive(payload: string | undefined): void {
    if (payload === undefined) return;
    const envelope = parseEnvelope(payload);
    if (envelope !== undefined && envelope[0] !== self) local.deliver(envelope[2], envelope[3]);
  }

  function lose(lost: Client): void {
    if (client !== lost) return;
    client = undefined;
    queue = [];
    reconnecting ??= reconnect().finally(() => {
      reconnecting = undefined;
    });
  }

  async function reconnect(): Promise<void> {
    for (let attempt = 0; !closing.signal.aborted && client === undefined; attempt++) {
      try {
        await systemTimers.sleep(Math.min(5000, 50 * 2 ** attempt) * (0.5 + Math.random()), closing.signal);
        await connect();
      } catch (error) {
        if (!closing.signal.aborted) onFailed(error);
      }
    }
  }

  /** All that waits goes out with one statement; one at a time keeps the order. */
  async function flush(): Promise<void> {
    try {
      await systemTimers.soon();
      while (queue.length > 0 && client !== undefined) {
        const batch = queue;
        queue = [];
        try {
          await client.query('select pg_notify($1, m) from unnest($2::text[]) as m', [channel, batch]);
        } catch (error) {
          if (!closing.signal.aborted) onFailed(error);
        }
      }
    } finally {
      flushing = undefined; // in the same turn as the look at the queue: what is published from now on starts a flush of its own
    }
  }

  await connect();
  const stopAsking = keepAsking(async () => client?.query('select 1'), {
    worked: () => client !== undefined && onWorked(),
    failed(error) {
      if (client === undefined) return; // known already
      onFailed(error);
      socket.destroy();
    },
  });
  return {
    spansProcesses: true,
    subscribe: local.subscribe,
    publish(topic, message) {
      local.deliver(topic, message);
      // Numbered, because of notifications that are alike Postgres delivers only one from each transaction.
      const envelope: Envelope = [self, ++sent, topic, message];
      const payload = JSON.stringify(envelope);
      if (client === undefined || queue.length >= maxQueued || Buffer.byteLength(payload) > maxPayloadBytes) return;
      queue.push(payload);
      flushing ??= flush();
    },
    async close() {
      closing.abort();
      stopAsking();
      const cancel = systemTimers.after(goodbyeMs, () => socket.destroy());
      await flushing;
      cancel();
      await reconnecting;
      const last = client;
      client = undefined;
      if (last !== undefined) {
        last.end().catch(() => undefined); // it is gone either way
        await closed(socket, goodbyeMs);
      }
      await local.close();
    },
  };
}

type Envelope = readonly [sender: string, number: number, topic: string, message: string];
const envelopeKinds = ['string', 'number', 'string', 'string'];

/** Other programs may notify on the channel: what is not ours is ignored. */
function parseEnvelope(payload: string): Envelope | undefined {
  try {
    const value: unknown = JSON.parse(payload);
    return isEnvelope(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isEnvelope(value: unknown): value is Envelope {
  return (
    Array.isArray(value) && value.length === envelopeKinds.length && value.every((part, index) => typeof part === envelopeKinds[index])
  );
}
