import { lockBooks } from '#storage/program';
import type { Batch, Handler } from './handler.ts';

/** The books of the tenant, which whoever books must share; see the request `books`. Comes before all other locks. */
export function booksHandler({ tenantId, books }: Batch): Handler {
  let wanted = false;
  return {
    want({ ledger }) {
      if (ledger?.length) wanted = true;
    },
    load: () => (wanted ? lockBooks(tenantId, books.alone) : undefined),
  };
}
