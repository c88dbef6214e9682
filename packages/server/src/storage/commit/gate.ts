import { passGate } from '#storage/program';
import type { Batch, Handler } from './handler.ts';

/**
 * Where a limit may be new, no other transaction moves money of the tenant meanwhile: none can then take some in its scope without
 * having seen it, and what was booked there is all that there is. Everybody else passes side by side. Before all other locks, so
 * that nobody waits here who holds any.
 */
export function gateHandler({ tenantId, books }: Batch): Handler {
  let passes = false;
  return {
    want({ ledger = [] }) {
      passes ||= ledger.length > 0;
    },
    load: () => (passes ? passGate(tenantId, { shared: !books.alone }) : undefined),
  };
}
