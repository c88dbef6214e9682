import { createHash } from 'node:crypto';
import { abortError, cutText, NexusError, type Timers } from '#core';
import type { BlobStore } from '#storage';
import { type ArtifactOfCall, artifactNote, type SectionPlace } from '#tools/contract';
import { boundText, cutAt } from './bounds.ts';
import type { LongResult, OutcomeRules } from './outcome.ts';

/** Where results go that are too long for a prompt. */
export interface ArtifactKeeping {
  readonly blobs: Pick<BlobStore, 'put'>;
  readonly nextId: () => string;
  /** Most bytes that are kept of one result. */
  readonly maxBytes: number;
}

export interface LongRules extends Pick<OutcomeRules, 'maxOutputChars' | 'secrets'> {
  readonly timers: Pick<Timers, 'soon'>;
  readonly artifacts: ArtifactKeeping;
  /** Whether whoever reads the result can read artifacts. */
  readonly isReader: boolean;
  /** Hears why something could not be kept, where that is no error of ours. */
  readonly onFault: (error: unknown) => void;
}

/** Of the long texts of a result; where less reaches the model the note has to be short. */
const maxPlacesTold = 3;
const tellsPlacesFrom = 2_000;
/** So many characters are looked through before others have their turn. */
const sliceChars = 64 * 1024;

/**
 * Keeps the text, without secrets, and gives its beginning with a note that says where the rest is. What cannot be kept is cut, and says so:
 * the call has gone well all the same.
 *
 * @param note what else there is to say; '' for nothing
 */
export async function keepLong(
  rules: LongRules,
  { tenantId, text, sections, mediaType }: Pick<LongResult, 'text' | 'sections' | 'mediaType'> & { readonly tenantId: string },
  note: string,
  signal: AbortSignal,
): Promise<{ readonly output: string; readonly artifact?: ArtifactOfCall }> {
  const { artifacts, maxOutputChars: max } = rules;
  const tail = note === '' ? '' : cutText(`\n${note}`, Math.floor(max / 2));
  const { head, pieces, places, ...kept } = await readLong(rules, text, sections);
  if (kept.whole && kept.characters <= max) return { output: boundText(`${head}${tail}`, max) };
  const totalChars = kept.whole ? kept.characters : sections.reduce((sum, each) => sum + each.text.length, text.length);
  const plain = () => ({ output: `${cutAt(head, totalChars, max - tail.length)}${tail}` });
  if (kept.characters <= max) return plain();
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  const about = { artifactId: artifacts.nextId(), sha256: hash.digest('hex'), mediaType, ...kept };
  try {
    await unlessAborted(
      signal,
      artifacts.blobs.put({ tenantId, sha256: about.sha256, bytes: about.bytes }, () => each(pieces), signal),
    );
  } catch (error) {
    if (!(error instanceof NexusError)) rules.onFault(error);
    return plain();
  }
  const told = max < tellsPlacesFrom ? [] : places.slice(0, maxPlacesTold);
  const noteOf = (shownChars: number) => artifactNote(about, { shownChars, totalChars }, told, rules.isReader);
  const shown = cutText(head, Math.max(0, max - tail.length - noteOf(max).length));
  const said = noteOf(shown.length);
  const cut = { shownChars: shown.length, noteChars: said.length, totalChars };
  return { output: `${shown}${said}${tail}`, artifact: { ...about, cut } };
}

/** Keeps texts that others than this service's tools gave, in the same way. */
export interface LongTexts {
  /** What the model reads of a text, without secrets, and what is kept of one that is too long. */
  keep(given: {
    readonly tenantId: string;
    readonly text: string;
    readonly isReader: boolean;
  }): Promise<{ readonly output: string; readonly artifact?: ArtifactOfCall }>;
}

/** A store that says nothing holds nobody up for longer: then the text is cut. */
const maxKeepingMs = 20_000;

export interface LongTextsOptions extends Omit<LongRules, 'isReader' | 'artifacts' | 'timers'> {
  readonly timers: Pick<Timers, 'soon' | 'after'>;
  /** Undefined: what is too long is cut. */
  readonly artifacts: ArtifactKeeping | undefined;
}

export function createLongTexts({ artifacts, ...rules }: LongTextsOptions): LongTexts {
  return {
    async keep({ tenantId, text: given, isReader }) {
      const text = given.toWellFormed();
      if (artifacts === undefined || text.length <= rules.maxOutputChars)
        return { output: boundText(rules.secrets.inText(text), rules.maxOutputChars) };
      const stop = new AbortController();
      const cancel = rules.timers.after(maxKeepingMs, () => stop.abort());
      try {
        return await keepLong(
          { ...rules, artifacts, isReader },
          { tenantId, text, sections: [], mediaType: 'text/plain' },
          '',
          stop.signal,
        );
      } finally {
        cancel();
      }
    },
  };
}

interface ReadText extends Pick<ArtifactOfCall, 'bytes' | 'characters' | 'lines' | 'whole'> {
  /** Its first characters, as many as may reach the model. */
  readonly head: string;
  readonly pieces: readonly Buffer[];
  /** In which lines each section is. */
  readonly places: readonly SectionPlace[];
}

/** The text without secrets, in UTF-8, up to what may be kept of one; others have their turn in between. */
async function readLong(
  { secrets, maxOutputChars, timers, artifacts }: LongRules,
  first: string,
  sections: LongResult['sections'],
): Promise<ReadText> {
  const pieces: Buffer[] = [];
  const places: SectionPlace[] = [];
  let head = '';
  let [bytes, characters, breaks, endsInBreak, whole] = [0, 0, 0, true, true];
  const take = (clean: string) => {
    let piece: Buffer = Buffer.from(clean, 'utf8');
    let kept = clean;
    if (bytes + piece.length > artifacts.maxBytes) {
      piece = upToBytes(piece, artifacts.maxBytes - bytes);
      kept = piece.toString('utf8');
      whole = false;
    }
    if (head.length < maxOutputChars) head += kept.slice(0, maxOutputChars - head.length);
    if (kept === '') return;
    pieces.push(piece);
    bytes += piece.length;
    characters += kept.length;
    for (let at = kept.indexOf('\n'); at >= 0; at = kept.indexOf('\n', at + 1)) breaks += 1;
    endsInBreak = kept.endsWith('\n');
  };
  const read = async (text: string) => {
    const stream = secrets.stream();
    let carried = '';
    for (let at = 0; at < text.length && whole; at += sliceChars) {
      const clean = carried + stream.push(text.slice(at, at + sliceChars));
      // Half of a pair waits for the other one: by itself it is no character.
      carried = /[\ud800-\udbff]$/.test(clean) ? clean.slice(-1) : '';
      take(carried === '' ? clean : clean.slice(0, -1));
      await timers.soon();
    }
    if (whole) take(carried + stream.end());
  };
  const lines = () => breaks + (endsInBreak ? 0 : 1);
  await read(first);
  for (const { name, text } of sections) {
    if (!whole) break;
    const clean = secrets.inText(name);
    take(`${endsInBreak ? '' : '\n'}--- ${clean} ---\n`);
    const from = breaks + 1;
    if (whole) await read(text);
    if (lines() >= from) places.push({ name: clean, from, to: lines() });
  }
  return { head, pieces, places, bytes, characters, lines: lines(), whole };
}

/** At most so many bytes of a text in UTF-8, and no part of a character. */
function upToBytes(piece: Buffer, maxBytes: number): Buffer {
  let end = maxBytes;
  while (end > 0 && ((piece[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return piece.subarray(0, end);
}

async function* each(pieces: readonly Buffer[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

/** Whoever is cancelled does not wait for a store that says nothing. */
async function unlessAborted(signal: AbortSignal, work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(abortError(signal));
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
