import { type Program, storable } from '#storage/program';
import { type ClaimRow, insertClaims, selectClaims } from '#storage/tables';
import type { Batch, Handler } from './handler.ts';

type Known = Map<string, Pick<ClaimRow, 'request_hash' | 'resource_id'>>;

/** The first commit with an idempotency key claims it; later ones learn what it created. */
export function claimHandler({ tenantId, nowMs }: Batch): Handler {
  const keys: string[] = [];
  const known: Known = new Map();
  const created: ClaimRow[] = [];
  return {
    want({ idempotency }) {
      if (idempotency) keys.push(storable(idempotency.key, 'idempotency key'));
    },
    load: () => (keys.length > 0 ? load(tenantId, keys, known) : undefined),
    decide({ idempotency }) {
      if (!idempotency) return undefined;
      const { key, requestHash, resourceId } = idempotency;
      const claim = known.get(key);
      if (claim) return { type: 'duplicate', resourceId: claim.resource_id, sameRequest: claim.request_hash === requestHash };
      return () => {
        const row = { tenant_id: tenantId, claim_key: key, request_hash: requestHash, resource_id: resourceId, created_at: nowMs };
        known.set(key, row);
        created.push(row);
      };
    },
    write(writes) {
      if (created.length > 0) writes.push(insertClaims(created));
    },
  };
}

function* load(tenantId: string, keys: readonly string[], known: Known): Program<void> {
  for (const row of yield* selectClaims(tenantId, keys)) known.set(row.claim_key, row);
}
