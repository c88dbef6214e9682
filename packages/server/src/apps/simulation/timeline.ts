import type { TimelineEntry } from './world.ts';

/** More of a line says nothing that its seed does not. */
const mostChars = 200;

/**
 * What happened, a line for each thing, with a column for each node: who did what while somebody else did something else. In a node's
 * column stands which of its processes it was, counted from 1.
 */
export function timelineOf(entries: readonly TimelineEntry[]): string {
  const columns = [...new Set(entries.map(({ who }) => nodeOf(who)))].filter((name) => /^n\d+$/.test(name)).sort();
  const heads = ['time'.padStart(12), ...columns.map((name) => name.padEnd(6))].join(' ');
  const body = entries.map(({ at, who, text }) => {
    const marks = columns.map((name) => (nodeOf(who) === name ? who.slice(name.length + 1) : '·').padEnd(6));
    const said = columns.includes(nodeOf(who)) ? text : `${who}: ${text}`;
    return [`${(at / 1_000).toFixed(3)} s`.padStart(12), ...marks, said.slice(0, mostChars)].join(' ');
  });
  return [heads, ...body].join('\n');
}

/** Processes of one node share its column. */
const nodeOf = (who: string) => who.split('.')[0] ?? who;
