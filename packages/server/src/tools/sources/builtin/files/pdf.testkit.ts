/** For tests: PDFs that say exactly what is in them. */
import { zlibSync } from 'fflate';

export type PdfObjects = Readonly<Record<number, string | Buffer>>;

/** A whole file of numbered objects, the first of which is its catalogue. `trailer` is what else its last part says. */
export function pdfOf(objects: PdfObjects, trailer = ''): Buffer {
  const parts = [Buffer.from('%PDF-1.7\n')];
  let length = parts[0]?.length ?? 0;
  const places = new Map<number, number>();
  for (const [number, body] of Object.entries(objects)) {
    places.set(Number(number), length);
    const part = Buffer.concat([Buffer.from(`${number} 0 obj\n`), Buffer.from(body), Buffer.from('\nendobj\n')]);
    parts.push(part);
    length += part.length;
  }
  const size = Math.max(...places.keys()) + 1;
  const table = Array.from(
    { length: size },
    (_, number) => `${String(places.get(number) ?? 0).padStart(10, '0')} 00000 ${places.has(number) ? 'n' : 'f'} \n`,
  );
  const end = `xref\n0 ${size}\n${table.join('')}trailer\n<< /Size ${size} /Root 1 0 R ${trailer} >>\nstartxref\n${length}\n%%EOF\n`;
  return Buffer.concat([...parts, Buffer.from(end)]);
}

export function pdfStream(content: string | Uint8Array, about = ''): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from(`<< /Length ${bytes.length} ${about} >>\nstream\n`), bytes, Buffer.from('\nendstream')]);
}

export const packedStream = (content: string | Uint8Array) =>
  pdfStream(zlibSync(Buffer.from(content), { level: 9 }), '/Filter /FlateDecode');

export const shownText = (...lines: readonly string[]) =>
  `BT /F1 12 Tf 14 TL 72 39900 Td ${lines.map((line) => `${/^[<[]/.test(line) ? line : `(${line})`} Tj T*`).join(' ')} ET`;

const helvetica = '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>';
const firstPage = 20;

/** A page for each content, all with one font. */
export function pdfWithPages(contents: readonly (string | Buffer)[], font: string = helvetica, more: PdfObjects = {}): PdfObjects {
  const pages = contents.flatMap((content, index) => {
    const number = firstPage + 2 * index;
    return [
      [
        number,
        `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 40000] /Contents ${number + 1} 0 R /Resources << /Font << /F1 5 0 R >> >> >>`,
      ],
      [number + 1, typeof content === 'string' ? packedStream(content) : content],
    ] as const;
  });
  return {
    1: '<< /Type /Catalog /Pages 2 0 R >>',
    2: `<< /Type /Pages /Kids [${contents.map((_, index) => `${firstPage + 2 * index} 0 R`).join(' ')}] /Count ${contents.length} >>`,
    5: font,
    ...more,
    ...Object.fromEntries(pages),
  };
}

/** A font of Chinese as documents name it without having it, with an own table of characters where one is given. */
export function chineseFont(encoding: string, ordering: string, table?: string): readonly [font: string, more: PdfObjects] {
  const toUnicode = table === undefined ? '' : '/ToUnicode 8 0 R';
  return [
    `<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light /Encoding /${encoding} /DescendantFonts [6 0 R] ${toUnicode} >>`,
    {
      6: `<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /CIDSystemInfo << /Registry (Adobe) /Ordering (${ordering}) /Supplement 0 >> /DW 1000 /FontDescriptor 7 0 R >>`,
      7: '<< /Type /FontDescriptor /FontName /STSong-Light /Flags 6 /FontBBox [0 0 1000 1000] /ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 >>',
      ...(table === undefined ? {} : { 8: packedStream(table) }),
    },
  ];
}
