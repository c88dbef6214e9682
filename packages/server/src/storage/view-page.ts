import type { Page } from '@nexus-agent/protocol';
import type { PageOf } from '#storage/contract';

/** A page of rows as people are shown it. */
export function viewPage<Row, View>(rows: PageOf<Row>, view: (row: Row) => View): Page<View> {
  return { data: rows.items.map(view), nextCursor: rows.nextCursor };
}
