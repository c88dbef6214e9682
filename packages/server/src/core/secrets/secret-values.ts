import { Matcher, removed } from './matcher.ts';
import { spellingsOf } from './spellings.ts';

/** A text that comes in pieces, cleaned: all that is given, put together, is the whole text cleaned, wherever the pieces were cut. */
export interface SecretStream {
  /** What is certain by now; the beginning of what may be a secret waits for what follows. */
  push(piece: string): string;
  /** What still waits, once nothing follows. */
  end(): string;
}

/**
 * The values of the secrets that a process was given, to be taken out of whatever comes in and goes out, in the usual spellings: plain,
 * in JSON, in addresses, in HTML, in hexadecimal and in base64 at each offset. One belongs to each server: it is handed down, not shared.
 */
export interface SecretValues {
  /**
   * For any text, what people and models write included. Searched are values of 16 characters or more, and of 6 or more that no word is:
   * with a digit, a sign or letters of both sizes. A password `postgres` is not searched here.
   */
  inText(text: string): string;
  /** For texts of errors that leave this machine: as `inErrors`, and every path of the machine by the name of its setting. */
  outward(text: string): string;
  /** For texts of errors: every value of 6 characters or more. */
  inErrors(text: string): string;
  /**
   * For errors of those whom the secrets were sent to: also any 12 characters of one in a row, such as the part that a server shows of a
   * key, or the half that is left where it cut its own text.
   */
  inForeign(text: string): string;
  /** The same as `inText` of every text and name in a value of JSON; the value itself where there is nothing to take out. */
  inData<T>(value: T): T;
  /** `inText` of a text that comes in pieces. */
  stream(): SecretStream;
  /** From now on these are searched for, too. */
  add(values: Iterable<string>): void;
}

const shortest = 6;
const longestWord = 15;
/** So many characters of a secret in a row are no coincidence. */
const pieceChars = 12;
/** Of a secret that is no longer than this no piece is searched: the piece would be most words with its beginning. */
const leastWithPieces = 16;
const longest = 8_192;
/** An error that is longer is read no further: nobody is shown so much. */
const maxForeignChars = 64_000;

/** A value that could stand in any text by itself: a short word, or a short number. */
function isPlain(value: string): boolean {
  if (value.length > longestWord) return false;
  return /^(\p{Lu}?[\p{Ll}_.\s-]*|[\p{Lu}_.\s-]*|\d*)$/u.test(value);
}

/** @param hostPaths names that paths of this machine are shown by, such as `dataDir` for `/var/lib/nexus` */
export function createSecretValues(values: Iterable<string> = [], hostPaths: Readonly<Record<string, string>> = {}): SecretValues {
  const known = new Set<string>();
  let everywhere: Matcher | null = null;
  let errors: Matcher | null = null;
  const pieces = new Set<string>();

  function add(more: Iterable<string>): void {
    for (const value of more) if (value.length >= shortest) known.add(value.slice(0, longest));
    const all = [...known];
    if (all.length === 0) return;
    errors = new Matcher(all.flatMap((value) => [...spellingsOf(value)]));
    const telling = all.filter((value) => !isPlain(value));
    everywhere = telling.length === 0 ? null : new Matcher(telling.flatMap((value) => [...spellingsOf(value)]));
    pieces.clear();
    for (const value of telling) {
      if (value.length < leastWithPieces) continue;
      for (let at = 0; at + pieceChars <= value.length; at += 1) pieces.add(value.slice(at, at + pieceChars));
    }
  }
  add(values);

  const inText = (text: string) => (everywhere === null ? text : everywhere.scan(text, true).text);
  const inErrors = (text: string) => (errors === null ? text : errors.scan(text, true).text);
  const inOwnPlaces = createPathNames(hostPaths);
  const inData = <T>(value: T): T => (everywhere === null ? value : mapTexts(value, inText));

  return {
    inText,
    inErrors,
    outward: (text) => inOwnPlaces(inErrors(text)),
    inData,
    inForeign: (text) => withoutPieces(inErrors(text.slice(0, maxForeignChars)), pieces),
    stream() {
      let held = '';
      return {
        push(piece) {
          if (everywhere === null) return piece;
          const scanned = everywhere.scan(held === '' ? piece : held + piece, false);
          held = scanned.held;
          return scanned.text;
        },
        end() {
          const rest = inText(held);
          held = '';
          return rest;
        },
      };
    },
    add,
  };
}

/** The longest first: one may lie in the other. A path ends where no further name could go on. */
function createPathNames(hostPaths: Readonly<Record<string, string>>): (text: string) => string {
  const paths = Object.keys(hostPaths)
    .filter((path) => /^(\/|[A-Za-z]:\\).+/.test(path))
    .sort((one, other) => other.length - one.length);
  if (paths.length === 0) return (text) => text;
  const any = new RegExp(`(?<![\\w./-])(?:${paths.map((path) => path.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|')})(?![\\w-])`, 'g');
  return (text) => text.replace(any, (path) => hostPaths[path] ?? path);
}

/** No more than a JSON value that was read may have; deeper is nothing of ours. */
const maxDepth = 1_000;

/** Every text and name in a value of JSON made anew; the value itself where that changes none. */
export function mapTexts<T>(value: T, clean: (text: string) => string): T {
  return inNode(value, clean) as T; // a copy of the same shape
}

function inNode(value: unknown, clean: (text: string) => string, depth = 0): unknown {
  if (typeof value === 'string') return clean(value);
  if (value === null || typeof value !== 'object' || depth > maxDepth) return value;
  if (Array.isArray(value)) {
    let copy: unknown[] | null = null;
    for (const [index, item] of value.entries()) {
      const next = inNode(item, clean, depth + 1);
      if (next === item) continue;
      copy ??= [...value];
      copy[index] = next;
    }
    return copy ?? value;
  }
  let changed = false;
  const entries: [string, unknown][] = [];
  for (const [name, item] of Object.entries(value)) {
    const [nextName, next] = [clean(name), inNode(item, clean, depth + 1)];
    changed ||= nextName !== name || next !== item;
    entries.push([nextName, next]);
  }
  return changed ? Object.fromEntries(entries) : value;
}

/** Every run of characters that is made of pieces, as one. */
function withoutPieces(text: string, pieces: ReadonlySet<string>): string {
  if (pieces.size === 0) return text;
  let clean = '';
  let kept = 0;
  for (let at = 0; at + pieceChars <= text.length; at += 1) {
    if (!pieces.has(text.slice(at, at + pieceChars))) continue;
    let end = at + pieceChars;
    while (end < text.length && pieces.has(text.slice(end - pieceChars + 1, end + 1))) end += 1;
    clean += text.slice(kept, at) + removed;
    kept = end;
    at = end - 1;
  }
  return kept === 0 ? text : clean + text.slice(kept);
}

/** For where there is nothing to hide. */
export const noSecrets: SecretValues = createSecretValues();
