import { connect, createServer, type Socket } from 'node:net';

/** A connection of a client, and the one to the database behind it. */
export interface RelayedPair {
  readonly front: Socket;
  readonly behind: Socket;
}

export interface PostgresRelay<Pair extends RelayedPair> {
  /** As the database's own, by way of this. */
  readonly url: string;
  /** Those that are open. One side does not outlive the other. */
  readonly pairs: ReadonlySet<Pair>;
  /** Closes all connections; new ones are taken. */
  cut(): void;
  close(): void;
}

/** Listens before a Postgres. What passes between the two sides of a connection is up to `join`. */
export async function openPostgresRelay<Pair extends RelayedPair>(
  databaseUrl: string,
  join: (front: Socket, behind: Socket) => Pair,
): Promise<PostgresRelay<Pair>> {
  const own = new URL(databaseUrl);
  const { hostname, port } = own;
  const pairs = new Set<Pair>();
  const server = createServer((front) => {
    const behind = connect(Number(port), hostname);
    const pair = join(front, behind);
    pairs.add(pair);
    for (const socket of [front, behind])
      socket
        .setNoDelay(true)
        .on('error', () => {})
        .on('close', () => {
          pairs.delete(pair);
          front.destroy();
          behind.destroy();
        });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  own.hostname = '127.0.0.1';
  own.port = String(typeof address === 'object' && address !== null ? address.port : 0);
  const cut = () => {
    for (const { front } of pairs) front.destroy();
  };
  return {
    url: own.href,
    pairs,
    cut,
    close() {
      cut();
      server.close();
    },
  };
}
