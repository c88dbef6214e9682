import { cutText } from '#core';

/** The tool by which models read what is kept. */
export const artifactReader = 'artifact_read';

/** What is kept of a result that is too long for a prompt. Plain data: it is committed with the result. */
export interface ArtifactOfCall {
  readonly artifactId: string;
  /** SHA-256 of the content in hex; the content is kept already. */
  readonly sha256: string;
  readonly bytes: number;
  readonly characters: number;
  readonly lines: number;
  readonly mediaType: string;
  /** False where the result was longer than what may be kept of one. */
  readonly whole: boolean;
  /** How the output is made up: its beginning, then a note that names the artifact, then what else there was to say. */
  readonly cut: { readonly shownChars: number; readonly noteChars: number; readonly totalChars: number };
}

/** Where one of the long texts of a result is, in lines of the artifact. */
export interface SectionPlace {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** What is said where a result was cut, and nothing else of it is kept. */
export function cutNote(shownChars: number, totalChars: number): string {
  return `\n[output cut: the first ${shownChars} of ${totalChars} characters are shown; ask for a smaller part to see the rest]`;
}

/** At least as long as {@link cutNote}, so that either fits where this one does. */
export function artifactNote(
  { artifactId, bytes, characters, lines, whole }: Omit<ArtifactOfCall, 'cut'>,
  { shownChars, totalChars }: Omit<ArtifactOfCall['cut'], 'noteChars'>,
  places: readonly SectionPlace[],
  isReader: boolean,
): string {
  const all = `the first ${shownChars} of ${totalChars} characters are shown`;
  const kept = whole
    ? `all of it, in ${lines} ${lines === 1 ? 'line' : 'lines'}, is kept`
    : `only the first ${characters} characters (${bytes} bytes, ${lines} lines) are kept, the rest is lost`;
  const how = isReader
    ? `${artifactReader} with id ${artifactId} reads lines or characters of it, or finds lines`
    : `people can read it by the API, and you by asking for a smaller part`;
  const where = places.map(({ name, from, to }) => `; ${name} is in lines ${from} to ${to}`).join('');
  return `\n[output cut: ${all}; ${kept} as the artifact ${artifactId}${where}; ${how}]`;
}

/** The same end of a call where nothing is kept beside it: the result is cut, and says so. */
export function withoutArtifact<End extends { readonly output: string; readonly artifact?: ArtifactOfCall }>(
  end: End,
): Omit<End, 'artifact'> & { readonly artifact?: never } {
  const { artifact, ...rest } = end;
  if (artifact === undefined) return rest;
  const { shownChars, noteChars, totalChars } = artifact.cut;
  const head = cutText(end.output, shownChars);
  return { ...rest, output: `${head}${cutNote(head.length, totalChars)}${end.output.slice(shownChars + noteChars)}` };
}
