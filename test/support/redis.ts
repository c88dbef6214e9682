import { Redis } from 'ioredis';

/** A Redis server for tests: `NEXUS_TEST_REDIS_URL`, else the one on loopback; `reason` says why there is none; it is printed too. */
export async function findRedis(): Promise<{ url: string } | { reason: string }> {
  const url = process.env.NEXUS_TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 2000, maxRetriesPerRequest: 0 });
  redis.on('error', () => {}); // told by `connect`
  try {
    await redis.connect();
    await redis.ping();
    return { url };
  } catch (error) {
    const reason = `no Redis at ${new URL(url).host}: ${error instanceof Error ? error.message : String(error)}`;
    process.stderr.write(`tests on Redis do not run: ${reason}\n`);
    return { reason };
  } finally {
    redis.disconnect();
  }
}
