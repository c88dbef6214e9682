import { NexusError } from '#core';
import type { Principal } from '#identity';

/** One name for one principal of one tenant. */
export function principalKey({ tenantId, id }: Principal): string {
  return `${tenantId}/${id}`;
}

/** Counts the calls of each principal: they go on when the client that made them has left. What comes back takes one away again. */
export function createCallCount(limit: number): (principal: Principal) => () => void {
  const used = new Map<string, number>();
  return (principal) => {
    const key = principalKey(principal);
    const now = used.get(key) ?? 0;
    if (now >= limit) {
      throw new NexusError(
        'rate_limited',
        `${now} calls of this key over MCP are under way here, and no more may be (mcp.server.calls); try again when some of them have ended`,
        { details: { what: 'calls', limit, used: now }, retryAfterMs: 1_000 },
      );
    }
    used.set(key, now + 1);
    return () => {
      const left = (used.get(key) ?? 1) - 1;
      if (left > 0) used.set(key, left);
      else used.delete(key);
    };
  };
}
