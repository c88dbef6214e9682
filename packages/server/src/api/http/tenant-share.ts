import { NexusError } from '#core';

export interface TenantShare {
  /** Counts one more of the tenant; what comes back takes it away again. Throws `rate_limited` beyond the share. */
  enter(tenantId: string): () => void;
}

/** How many of something one tenant may have under way in this process, so that there is room for those of others. */
export function createTenantShare({
  what,
  limit,
  setting,
}: {
  readonly what: string;
  readonly limit: number;
  readonly setting: string;
}): TenantShare {
  const used = new Map<string, number>();
  return {
    enter(tenantId) {
      const now = used.get(tenantId) ?? 0;
      if (now >= limit) {
        throw new NexusError(
          'rate_limited',
          `${now} ${what} of this tenant are under way here, and no more may be (${setting}); try again when some of them have ended`,
          { details: { what, limit, used: now }, retryAfterMs: 1_000 },
        );
      }
      used.set(tenantId, now + 1);
      let counted = true;
      return () => {
        if (!counted) return;
        counted = false;
        const left = (used.get(tenantId) ?? 1) - 1;
        if (left > 0) used.set(tenantId, left);
        else used.delete(tenantId);
      };
    },
  };
}
