import { once } from 'node:events';
import { createServer } from 'node:net';
import { boundHost, portInUse } from '#api';
import type { NexusConfig } from '#apps/config';

/**
 * Throws `unavailable` when another process listens at the address: asked before a start changes what other processes work by, such as
 * the agents and policies in use. What else is wrong with the address is told by whoever listens.
 */
export async function requireFreePort({ host, port }: Pick<NexusConfig, 'host' | 'port'>): Promise<void> {
  if (port === 0) return;
  const probe = createServer();
  try {
    probe.listen({ port, host: boundHost(host), exclusive: true });
    await once(probe, 'listening');
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'EADDRINUSE') return;
    throw portInUse({ host, port }, error);
  } finally {
    if (probe.listening) {
      probe.close();
      await once(probe, 'close');
    }
  }
}
