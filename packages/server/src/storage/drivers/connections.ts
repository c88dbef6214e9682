import { Socket } from 'node:net';
import type { Client, ClientConfig, QueryConfig, QueryResult } from 'pg';
import { systemTimers } from '#core';
import type { PoolState } from '#storage/contract';
import type { Deadline } from './deadline.ts';
import { DatabaseFailure, postgresFailure } from './failures.ts';

export interface ConnectionsOptions {
  readonly createClient: (config: ClientConfig) => Client;
  readonly config: ClientConfig;
  readonly max: number;
  /** A connection that nobody used for so long is closed. */
  readonly idleMs: number;
}

/** A connection that its taker has alone, until it is given back. */
export interface TakenConnection {
  /** Rejects with a {@link DatabaseFailure}. */
  query(query: string | QueryConfig): Promise<QueryResult>;
  /** Once. One that is not `clean` (it may be in the middle of something) is closed at once. */
  giveBack(clean: boolean): void;
}

/** The connections of a process to Postgres. Whatever a server does or leaves undone, no wait for one outlasts its deadline. */
export interface Connections {
  /** Cut when the deadline passes before it is given back: what is being asked on it then fails. */
  take(deadline: Deadline): Promise<TakenConnection>;
  state(): PoolState;
  /** Cuts them all; nothing is asked on any any more. */
  giveUp(): void;
  /** Waits for those that are taken, each of which has a deadline, and then a second for the server to let go. */
  close(): Promise<void>;
}

interface Session {
  readonly client: Client;
  readonly socket: Socket;
  /** Of the connections as a whole when it was opened, see {@link createConnections}. */
  readonly era: number;
  idleSince: number;
  isLost: boolean;
}

/** Null: there is room to open one. */
interface Waiting {
  give(session: Session | null): void;
  fail(failure: DatabaseFailure): void;
}

const goodbyeMs = 1_000;

/**
 * A pool on `pg`'s clients. One session that falls silent or says that its server is no longer the one to write to begins a new
 * era: those that were opened before are not used again, so that a failover, or a firewall that forgot its connections, costs one
 * wait and not one for each connection.
 */
export function createConnections({ createClient, config, max, idleMs }: ConnectionsOptions): Connections {
  const idle: Session[] = [];
  const waiting: Waiting[] = [];
  const sockets = new Set<Socket>();
  let open = 0;
  let era = 0;
  let closed = false;
  const { promise: emptied, resolve: empty } = Promise.withResolvers<void>();
  const stopReaping = systemTimers.every(Math.max(1, idleMs / 4), () => {
    const before = performance.now() - idleMs;
    while (idle[0] !== undefined && idle[0].idleSince < before) discard(idle.shift(), true);
  });

  async function connect(deadline: Deadline): Promise<Session> {
    const socket = new Socket();
    sockets.add(socket.once('close', () => sockets.delete(socket)));
    const session: Session = { client: createClient({ ...config, stream: () => socket }), socket, era, idleSince: 0, isLost: false };
    try {
      await enter(session, deadline, () => {
        const at = idle.indexOf(session);
        if (at < 0) return;
        idle.splice(at, 1);
        left();
      });
      return session;
    } catch (error) {
      left();
      throw error;
    }
  }

  /** A session is gone: whoever waits first may open another. */
  function left(): void {
    open -= 1;
    if (!closed && open < max) {
      const next = waiting.shift();
      if (next !== undefined) {
        open += 1;
        next.give(null);
      }
    }
    if (closed && open === 0) empty();
  }

  function discard(session: Session | undefined, politely: boolean): void {
    if (session === undefined) return;
    const { client, socket } = session;
    if (politely && !session.isLost) {
      client.end().catch(() => undefined); // it is gone either way
      socket.once(
        'close',
        systemTimers.after(goodbyeMs, () => socket.destroy()),
      );
    } else {
      socket.destroy();
    }
    left();
  }

  function isUsable(session: Session): boolean {
    return !session.isLost && session.era === era && !closed;
  }

  function doubtAll(): void {
    era += 1;
    for (const session of idle.splice(0)) discard(session, false);
  }

  async function sessionFor(deadline: Deadline): Promise<Session> {
    if (closed) throw new DatabaseFailure('outage', 'the store is closed');
    if (deadline.leftMs() === 0) throw silence('did not answer', deadline);
    for (let session = idle.pop(); session !== undefined; session = idle.pop()) {
      if (isUsable(session)) return session;
      discard(session, false);
    }
    if (open < max && waiting.length === 0) {
      open += 1;
      return connect(deadline);
    }
    return (await waitIn(waiting, deadline)) ?? connect(deadline);
  }

  /** Nobody is let in any more. */
  function refuse(): void {
    if (closed) return;
    closed = true;
    stopReaping();
    for (const entry of waiting.splice(0)) entry.fail(new DatabaseFailure('outage', 'the store is closed'));
    for (const session of idle.splice(0)) discard(session, true);
  }

  return {
    async take(deadline) {
      const session = await sessionFor(deadline);
      const leftMs = deadline.leftMs();
      let isLate = false;
      const cancel = watch(deadline, session.socket, () => {
        isLate = true;
        session.socket.destroy();
        // One that was taken in the last moment has shown nothing.
        if (session.era === era && leftMs > deadline.totalMs / 2) doubtAll();
      });
      const fail = (error: unknown): never => {
        const failure = isLate ? silence('did not answer', deadline) : postgresFailure(error);
        if (failure.doubtful && session.era === era) doubtAll();
        throw failure;
      };
      return {
        query: (query) => session.client.query(query as QueryConfig).catch(fail), // a text is taken as well
        giveBack(clean) {
          cancel();
          if (!clean || !isUsable(session)) return discard(session, clean);
          const next = waiting.shift();
          if (next !== undefined) return next.give(session);
          session.idleSince = performance.now();
          idle.push(session);
        },
      };
    },
    state: () => ({ inUse: open - idle.length, idle: idle.length, waiting: waiting.length }),
    giveUp() {
      refuse();
      for (const socket of sockets) socket.destroy();
    },
    async close() {
      refuse();
      if (open === 0) empty();
      await emptied;
      await Promise.all([...sockets].map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()))));
    },
  };
}

/** For a connection that another gives back, or for room to open one. */
function waitIn(waiting: Waiting[], deadline: Deadline): Promise<Session | null> {
  return new Promise((resolve, reject) => {
    const cancel = systemTimers.after(deadline.leftMs(), () => {
      const at = waiting.indexOf(entry);
      if (at >= 0) waiting.splice(at, 1);
      entry.fail(new DatabaseFailure('outage', `no connection to the database became free within ${Math.round(deadline.totalMs)} ms`));
    });
    const entry: Waiting = {
      give(session) {
        cancel();
        resolve(session);
      },
      fail(failure) {
        cancel();
        reject(failure);
      },
    };
    waiting.push(entry);
  });
}

/** Rejects with a {@link DatabaseFailure} and leaves nothing open when the server does not let us in. */
async function enter(session: Session, deadline: Deadline, onLost: () => void): Promise<void> {
  const { client, socket } = session;
  const lose = () => {
    session.isLost = true;
    onLost();
  };
  // An error that nobody heard would end the process.
  client.on('error', lose).on('end', lose);
  let isLate = false;
  const cancel = watch(deadline, socket, () => {
    isLate = true;
    socket.destroy();
  });
  try {
    await client.connect();
  } catch (error) {
    socket.destroy();
    throw isLate ? silence('let nobody in', deadline) : postgresFailure(error);
  } finally {
    cancel();
  }
}

/**
 * Calls back when the deadline has passed, unless it is cancelled. Not the server is late when this process stood still: while
 * something is heard of it there are some more moments, half of the time at most.
 */
function watch(deadline: Deadline, socket: Socket, onLate: () => void): () => void {
  const graceMs = deadline.totalMs / 8;
  let heard = socket.bytesRead;
  let graces = 0;
  let isOver = false;
  let cancel = systemTimers.after(deadline.leftMs(), look);
  async function look(): Promise<void> {
    await systemTimers.soon();
    if (isOver) return;
    const isHeard = socket.bytesRead > heard;
    heard = socket.bytesRead;
    if ((graces === 0 || isHeard) && graces < 4) {
      graces += 1;
      cancel = systemTimers.after(graceMs, look);
    } else {
      onLate();
    }
  }
  return () => {
    isOver = true;
    cancel();
  };
}

function silence(what: string, deadline: Deadline): DatabaseFailure {
  return new DatabaseFailure('outage', `the database ${what} within ${Math.round(deadline.totalMs)} ms`, { doubtful: true });
}
