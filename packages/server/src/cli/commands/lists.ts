import type { Page } from '@nexus-agent/protocol';
import type { CliContext } from '../context.ts';
import { table } from '../style.ts';

export interface PageFlags {
  readonly limit?: number;
  readonly cursor?: string;
}

/** The paging flags alone, without those that were not given. */
export function pageFlags({ limit, cursor }: PageFlags): PageFlags {
  return { ...(limit === undefined ? {} : { limit }), ...(cursor === undefined ? {} : { cursor }) };
}

/** Prints a page as a table, and says how to get the next one. */
export function printPage<T>(context: CliContext, page: Page<T>, head: readonly string[], row: (item: T) => readonly string[]): void {
  context.print(page, () => (page.data.length === 0 ? 'none' : table(head, page.data.map(row), context.out)));
  if (page.nextCursor !== null && context.options.json !== true) context.note(context.err('dim', `more: --cursor ${page.nextCursor}`));
}
