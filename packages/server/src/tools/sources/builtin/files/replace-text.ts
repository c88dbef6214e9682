import { NexusError } from '#core';
import { matchLines, numbered } from './line-match.ts';
import { literalSearch } from './literal-search.ts';

export interface Edit {
  readonly old: string;
  readonly new: string;
  readonly all?: boolean;
}

export interface EditedText {
  readonly text: string;
  /** Where something changed, as lines of the text before, counted from 1. */
  readonly lines: readonly number[];
}

const maxReplaced = 10_000;
const maxShownPlaces = 10;

/** Replaces a text that stands there exactly once, or all of them. Throws `tool_input_invalid` that says what stands there instead. */
export function replaceText(text: string, given: Edit, name: string): EditedText {
  const edit = text.includes('\r\n') && !given.old.includes('\r') ? withCarriageReturns(text, given) : given;
  const places = findAll(text, edit.old);
  if (places.length === 0) throw notFound(text, edit.old, name);
  const lines = lineNumbers(text, places);
  if (places.length > 1 && edit.all !== true) {
    const shown = lines.slice(0, maxShownPlaces).join(', ');
    throw new NexusError(
      'tool_input_invalid',
      `${name} stands there ${places.length} times, at line ${shown}${places.length > maxShownPlaces ? ', …' : ''}; ` +
        'give more of the lines around the one that is meant, or all: true. Nothing was changed',
    );
  }
  if (places.length > maxReplaced)
    throw new NexusError('tool_input_invalid', `${name} stands there more than ${maxReplaced} times; use code_js for so many`);
  const parts: string[] = [];
  let from = 0;
  for (const at of places) {
    parts.push(text.slice(from, at));
    from = at + edit.old.length;
  }
  return { text: [...parts, text.slice(from)].join(edit.new), lines };
}

/** Models give lines with plain ends: in a file whose lines end otherwise theirs are meant the same. */
function withCarriageReturns(text: string, { old, new: by, ...rest }: Edit): Edit {
  const whole = old.replaceAll('\n', '\r\n');
  return old.includes('\n') || !text.includes(old) || by.includes('\n')
    ? { ...rest, old: whole, new: by.replaceAll(/\r?\n/g, '\r\n') }
    : { ...rest, old, new: by };
}

function findAll(text: string, wanted: string): readonly number[] {
  const find = literalSearch(wanted);
  const places: number[] = [];
  // The search begins anew behind each place: what it looks through adds up to the text.
  for (let from = 0; places.length <= maxReplaced; ) {
    const at = from === 0 ? find(text) : find(text.slice(from));
    if (at < 0) break;
    places.push(from + at);
    from += at + wanted.length;
  }
  return places;
}

function lineNumbers(text: string, places: readonly number[]): readonly number[] {
  let line = 1;
  let from = 0;
  return places.map((place) => {
    for (let at = text.indexOf('\n', from); at >= 0 && at < place; at = text.indexOf('\n', from)) {
      line += 1;
      from = at + 1;
    }
    return line;
  });
}

const squeeze = (line: string) => line.replaceAll(/\s+/g, ' ').trim();

function notFound(text: string, old: string, name: string): NexusError {
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  const wanted = old.split(/\r?\n/);
  while (wanted.length > 1 && squeeze(wanted[0] ?? '') === '') wanted.shift();
  while (wanted.length > 1 && squeeze(wanted.at(-1) ?? '') === '') wanted.pop();
  const { starts, best } = matchLines(lines, wanted, squeeze);
  const say = (why: string, shown: string) =>
    new NexusError(
      'tool_input_invalid',
      `${name} does not stand in the file: ${why}. Nothing was changed.${shown === '' ? '' : `\n${shown}`}`,
    );
  const [start] = starts;
  if (start !== undefined)
    return say(`at line ${start + 1} it does but for blanks, which must be the same`, numbered(lines, start, Math.min(wanted.length, 20)));
  if (best.lines > 0 && squeeze(wanted[0] ?? '') !== '')
    return say(
      `its first ${best.lines === 1 ? 'line is' : `${best.lines} lines are`} at line ${best.at + 1}, but then other text follows than ${JSON.stringify((wanted[best.lines] ?? '').slice(0, 200))}`,
      numbered(lines, best.at, best.lines + 3),
    );
  const near = lines.findIndex(
    (line) =>
      squeeze(line) !== '' &&
      (line.includes(squeeze(wanted[0] ?? '')) || (wanted.length === 1 && old.includes(squeeze(line)) && squeeze(line).length > 8)),
  );
  return near >= 0 && squeeze(wanted[0] ?? '') !== ''
    ? say(`the nearest is line ${near + 1}`, numbered(lines, near - 2, 6))
    : say('not even its first line does; read the file first', '');
}
