import { passGate } from '#storage/program';
import type { Batch, Handler } from './handler.ts';

/**
 * Where a limit may be new, no other transaction moves money of the tenant meanwhile: none can then take some in its scope without
 * having seen it, and what is open there is all that there is. Everybody else passes side by side. Before all other locks, so
 * that nobody waits here who holds any.
 */
export function gateHandler({ tenantId }: Batch): Handler {
  let passes = false;
  let shared = true;
  return {
    want({ ledger = [] }) {
      passes ||= ledger.length > 0;
      if (ledger.some((operation) => operation.type === 'limit' && !operation.fresh)) shared = false;
    },
    load: () => (passes ? passGate(tenantId, { shared }) : undefined),
  };
}
