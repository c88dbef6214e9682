/** How many of the first bytes tell what a file is. */
export const kindBytes = 512;

const at0: readonly (readonly [kind: string, ...bytes: number[]])[] = [
  ['PNG image', 0x89, 0x50, 0x4e, 0x47],
  ['JPEG image', 0xff, 0xd8, 0xff],
  ['GIF image', 0x47, 0x49, 0x46, 0x38],
  ['BMP image', 0x42, 0x4d],
  ['TIFF image', 0x49, 0x49, 0x2a, 0x00],
  ['TIFF image', 0x4d, 0x4d, 0x00, 0x2a],
  ['icon', 0x00, 0x00, 0x01, 0x00],
  ['PDF document', 0x25, 0x50, 0x44, 0x46, 0x2d],
  ['gzip archive', 0x1f, 0x8b],
  ['bzip2 archive', 0x42, 0x5a, 0x68],
  ['xz archive', 0xfd, 0x37, 0x7a, 0x58, 0x5a],
  ['zstd archive', 0x28, 0xb5, 0x2f, 0xfd],
  ['7z archive', 0x37, 0x7a, 0xbc, 0xaf],
  ['RAR archive', 0x52, 0x61, 0x72, 0x21],
  ['SQLite database', 0x53, 0x51, 0x4c, 0x69, 0x74, 0x65, 0x20, 0x66],
  ['ELF program', 0x7f, 0x45, 0x4c, 0x46],
  ['WebAssembly module', 0x00, 0x61, 0x73, 0x6d],
  ['old Office document', 0xd0, 0xcf, 0x11, 0xe0],
  ['Parquet file', 0x50, 0x41, 0x52, 0x31],
  ['Ogg audio', 0x4f, 0x67, 0x67, 0x53],
  ['MP3 audio', 0x49, 0x44, 0x33],
  ['FLAC audio', 0x66, 0x4c, 0x61, 0x43],
  ['WOFF font', 0x77, 0x4f, 0x46, 0x46],
  ['WOFF font', 0x77, 0x4f, 0x46, 0x32],
  ['Windows program', 0x4d, 0x5a],
  ['text in UTF-16', 0xff, 0xfe],
  ['text in UTF-16', 0xfe, 0xff],
];

/** Zip archives that are something of their own, by their extension. */
const zipped: ReadonlyMap<string, string> = new Map([
  ['docx', 'Word document'],
  ['xlsx', 'Excel workbook'],
  ['pptx', 'PowerPoint presentation'],
  ['odt', 'OpenDocument text'],
  ['ods', 'OpenDocument spreadsheet'],
  ['epub', 'EPUB book'],
  ['jar', 'Java archive'],
]);

/** What a file that is no UTF-8 text seems to be, in words, by its first bytes; with them its name. */
export function fileKind(path: string, first: Uint8Array): string {
  const has = (offset: number, text: string) => Buffer.from(first).toString('latin1', offset, offset + text.length) === text;
  const known = at0.find(([, ...bytes]) => bytes.length <= first.length && bytes.every((byte, index) => first[index] === byte));
  if (known !== undefined) return known[0];
  if (has(0, 'PK\u0003\u0004') || has(0, 'PK\u0005\u0006'))
    return zipped.get(path.slice(path.lastIndexOf('.') + 1).toLowerCase()) ?? 'zip archive';
  if (has(0, 'RIFF')) return has(8, 'WEBP') ? 'WebP image' : has(8, 'WAVE') ? 'WAV audio' : 'RIFF file';
  if (has(4, 'ftyp')) return has(8, 'avif') ? 'AVIF image' : has(8, 'heic') ? 'HEIC image' : 'MP4 video or audio';
  if (has(257, 'ustar')) return 'tar archive';
  return first.includes(0) ? 'binary file' : 'file in another encoding';
}
