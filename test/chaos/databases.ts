import { afterAll, afterEach, beforeAll, describe, type TestContext } from 'vitest';
import { type Cluster, type ClusterOptions, openCluster } from './cluster.ts';
import { tellSeedOfFailures } from './seed.ts';

/** Runs a suite on SQLite and on Postgres, each with a cluster of its own; without a Postgres its tests are skipped and say why. */
export function onEachDatabase(
  title: string,
  { alone = false, ...options }: ClusterOptions & { /** What is measured must not share the machine. */ readonly alone?: boolean },
  suite: (use: (context: TestContext) => Cluster) => void,
): void {
  for (const database of ['sqlite', 'postgres'] as const) {
    // Mostly they wait for leases, so the two databases do it together; the tests of one share a cluster and take turns.
    describe(title, { concurrent: !alone }, () => {
      describe(`on ${database}`, { concurrent: false }, () => {
        let opened: Cluster | { readonly reason: string } | undefined;
        beforeAll(async () => {
          opened = await openCluster(database, options);
        }, 60_000);
        tellSeedOfFailures();
        afterEach(async () => {
          if (opened !== undefined && 'clear' in opened) await opened.clear();
        });
        afterAll(async () => {
          if (opened !== undefined && 'close' in opened) await opened.close();
        });
        suite((context) => {
          if (opened === undefined) throw new Error('the cluster was not opened');
          if ('reason' in opened) return context.skip(opened.reason);
          return opened;
        });
      });
    });
  }
}
