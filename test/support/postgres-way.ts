import type { Socket } from 'node:net';
import { openPostgresRelay, type RelayedPair } from './postgres-relay.ts';

/** What is done with the answer of a COMMIT that went to the database. */
export type CommitAnswer = 'passes' | 'swallowed' | 'cut';

/** A way to a Postgres that misbehaves as networks do. */
export interface PostgresWay {
  /** As the database's own, by this way. */
  readonly url: string;
  /** From now on nothing passes, in either direction, on old connections and on new ones; they stay open. */
  silence(): void;
  /** From now on all passes. What was held back on connections that still stand is delivered. */
  speak(): void;
  /** Closes all connections; new ones are taken. */
  cut(): void;
  /** Decides for each COMMIT, when it is sent. */
  onCommit(decide: () => CommitAnswer): void;
  /** Connections that are open on this side. */
  readonly open: number;
  /** COMMITs that were sent. */
  readonly commits: number;
  close(): void;
}

interface Pair extends RelayedPair {
  /** Nothing of the database comes through any more. */
  deaf: boolean;
  held: { readonly to: Socket; readonly data: Buffer }[];
}

export async function openPostgresWay(databaseUrl: string): Promise<PostgresWay> {
  let isSilent = false;
  let commits = 0;
  let decide: () => CommitAnswer = () => 'passes';

  function pass(pair: Pair, to: Socket, data: Buffer): void {
    if (isSilent) pair.held.push({ to, data });
    else if (to === pair.behind || !pair.deaf) to.write(data);
  }

  const relay = await openPostgresRelay(databaseUrl, (front, behind): Pair => {
    const pair: Pair = { front, behind, deaf: false, held: [] };
    front.on('data', (data) => {
      if (isCommit(data)) {
        commits += 1;
        const fate = isSilent ? 'passes' : decide();
        if (fate !== 'passes') pair.deaf = true;
        // Once the database has had the time to do it.
        if (fate === 'cut') setTimeout(() => front.destroy(), 30);
      }
      pass(pair, behind, data);
    });
    behind.on('data', (data) => pass(pair, front, data));
    return pair;
  });
  return {
    url: relay.url,
    silence() {
      isSilent = true;
    },
    speak() {
      isSilent = false;
      for (const pair of relay.pairs) for (const { to, data } of pair.held.splice(0)) pass(pair, to, data);
    },
    cut: relay.cut,
    onCommit(wanted) {
      decide = wanted;
    },
    get open() {
      return relay.pairs.size;
    },
    get commits() {
      return commits;
    },
    close: relay.close,
  };
}

/** COMMIT is a simple query of its own, sent with what precedes it. */
function isCommit(data: Buffer): boolean {
  return data.includes('Q\0\0\0\x0bcommit\0');
}
