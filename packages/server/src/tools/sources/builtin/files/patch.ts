import { NexusError, type Timers } from '#core';
import { matchLines, numbered } from './line-match.ts';
import type { EditedText } from './replace-text.ts';

interface Hunk {
  readonly header: string;
  /** Where it says that it begins, counted from 1; null when it does not say. */
  readonly start: number | null;
  readonly old: string[];
  readonly new: string[];
  /** Whether its last line has an end afterwards; null when it does not say. */
  hasEnd: boolean | null;
}

const maxHunks = 500;

/**
 * Applies a unified diff of one file. Lines are numbered as models number them, roughly: a hunk is put where its lines stand, at the place
 * that is nearest to the one that it names, and after those before it. Throws `tool_input_invalid` that says which hunk does not fit, where,
 * and what stands there. Takes time proportional to the text for each hunk, others have their turn between them.
 */
export async function applyPatch(
  text: string,
  patch: string,
  { timers, signal }: { readonly timers: Pick<Timers, 'soon'>; readonly signal: AbortSignal },
): Promise<EditedText> {
  const hunks = parseHunks(patch);
  const end = text.includes('\r\n') ? '\r\n' : '\n';
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  const endsWithEnd = lines.at(-1) === '';
  if (endsWithEnd) lines.pop();
  const result: string[] = [];
  const changed: number[] = [];
  let done = 0;
  let noEnd = !endsWithEnd && lines.length > 0;
  for (const [index, hunk] of hunks.entries()) {
    const at = placeOfHunk(lines, done, hunk, `hunk ${index + 1} of ${hunks.length} (${hunk.header.slice(0, 60)})`);
    for (let line = done; line < at; line++) result.push(lines[line] ?? '');
    result.push(...hunk.new);
    changed.push(at + 1);
    done = at + hunk.old.length;
    if (done >= lines.length && hunk.hasEnd !== null) noEnd = !hunk.hasEnd;
    await timers.soon();
    signal.throwIfAborted();
  }
  for (let line = done; line < lines.length; line++) result.push(lines[line] ?? '');
  return { text: result.length === 0 ? '' : result.join(end) + (noEnd ? '' : end), lines: changed };
}

function placeOfHunk(lines: readonly string[], from: number, hunk: Hunk, name: string): number {
  const { old, start } = hunk;
  if (old.length === 0) {
    if (start === null && lines.length > 0)
      throw invalid(`${name} only adds lines and does not say where; give some lines around them, or line numbers in its header`);
    // "-3,0" puts lines behind line 3.
    return Math.max(from, Math.min(start ?? 0, lines.length));
  }
  const rest = from === 0 ? lines : lines.slice(from);
  const { starts, best } = matchLines(rest, old);
  const wanted = start === null ? null : start - 1 - from;
  if (wanted === null && starts.length > 1)
    throw invalid(
      `${name} fits at ${starts.length} places, lines ${starts
        .slice(0, 10)
        .map((place) => from + place + 1)
        .join(', ')}; give more lines around it, or line numbers in its header`,
    );
  const [first, ...others] = starts;
  if (first !== undefined)
    return from + others.reduce((near, place) => (Math.abs(place - (wanted ?? 0)) < Math.abs(near - (wanted ?? 0)) ? place : near), first);
  if (best.lines === 0) {
    const missing = JSON.stringify((old[0] ?? '').slice(0, 200));
    const around = wanted === null ? 0 : from + wanted;
    const shown = numbered(lines, around - 2, 6);
    throw invalid(
      `${name} does not fit: its first line ${missing} stands nowhere${from > 0 ? ` behind line ${from}, where the hunk before it ends` : ' in the file'}`,
      shown === '' ? '' : `around line ${around + 1} there is\n${shown}`,
    );
  }
  const at = from + best.at;
  throw invalid(
    `${name} does not fit: its first ${best.lines === 1 ? 'line stands' : `${best.lines} lines stand`} at line ${at + 1}, but at line ${at + best.lines + 1} it expects ${JSON.stringify((old[best.lines] ?? '').slice(0, 200))}`,
    `there is\n${numbered(lines, at, best.lines + 3)}`,
  );
}

function invalid(why: string, shown = ''): NexusError {
  return new NexusError('tool_input_invalid', `${why}. Nothing was changed${shown === '' ? '' : `; ${shown}`}`);
}

function parseHunks(patch: string): readonly Hunk[] {
  const hunks: Hunk[] = [];
  const lines = patch.split(/\r?\n/);
  while (lines.at(-1) === '') lines.pop();
  let lastSign = '';
  for (const [index, line] of lines.entries()) {
    const hunk = hunks.at(-1);
    if (line.startsWith('@@')) {
      const [, start] = /^@@ -(\d{1,9})(?:,\d{1,9})? \+\d{1,9}(?:,\d{1,9})? @@/.exec(line) ?? [];
      hunks.push({ header: line, start: start === undefined ? null : Number(start), old: [], new: [], hasEnd: null });
      if (hunks.length > maxHunks) throw invalid(`the patch has more than ${maxHunks} hunks; give it in several calls`);
    } else if (hunk === undefined) {
      // Names of files, and what tools say before them.
    } else if (isFileHeader(lines, index)) throw invalid('the patch is of several files; give one call for each, with its hunks alone');
    else if (line.startsWith('-')) hunk.old.push(line.slice(1));
    else if (line.startsWith('+')) hunk.new.push(line.slice(1));
    else if (line.startsWith(' ') || line === '') {
      hunk.old.push(line.slice(1));
      hunk.new.push(line.slice(1));
    } else if (line.startsWith('\\')) hunk.hasEnd = lastSign === '-';
    else throw invalid(`line ${index + 1} of the patch begins with none of " ", "-", "+" and "@@": ${JSON.stringify(line.slice(0, 100))}`);
    lastSign = line.charAt(0);
  }
  if (hunks.length === 0) throw invalid('the patch has no hunk; each begins with a line such as @@ -3,2 +3,4 @@');
  const empty = hunks.find((hunk) => hunk.old.length + hunk.new.length === 0);
  if (empty !== undefined) throw invalid(`the hunk ${empty.header.slice(0, 60)} is empty`);
  return hunks;
}

/** `--- a/x`, `+++ b/x` and a hunk: else it is a line that begins with two dashes and goes. */
function isFileHeader(lines: readonly string[], index: number): boolean {
  const [one = '', two = '', three = ''] = lines.slice(index, index + 3);
  return one.startsWith('diff --git ') || (one.startsWith('--- ') && two.startsWith('+++ ') && three.startsWith('@@'));
}
