import { z } from 'zod';
import type { ToolResult } from '#tools/contract';
import { pdfProgram } from './pdf-program.ts';
import { pdfLibrary } from './pdf-world.ts';
import { countOf, ok } from './shared.ts';

export const pdfCode = () => `${pdfLibrary()}\n${pdfProgram}`;

const Page = z.object({ number: z.number(), lines: z.array(z.string()), count: z.number() });

/** What {@link pdfProgram} gives. */
export const PdfAnswer = z.union([
  z.object({ problem: z.string() }),
  z.object({ pages: z.array(Page), total: z.number(), unread: z.array(z.string()) }),
]);

type ReadPdf = Extract<z.infer<typeof PdfAnswer>, { readonly pages: unknown }>;

/** Page by page in words: each under its number, and at the end what is missing and how to go on. */
export function describePdf(
  { pages, total, unread }: ReadPdf,
  { page, offset }: { readonly page: number; readonly offset: number },
): ToolResult {
  const empty = pages.filter(({ count }) => count === 0).map(({ number }) => number);
  const shown = pages.filter(({ count }) => count > 0).flatMap(({ number, lines }) => [`[page ${number} of ${total}]`, ...lines]);
  const lostChars = shown.reduce((sum, line) => sum + line.split('\ufffd').length - 1, 0);
  const [only] = pages;
  const notes = [
    ...(page > total ? [`it has only ${countOf(total, 'page')}`] : []),
    ...(only !== undefined && only.count > 0 && only.lines.length === 0
      ? [`page ${only.number} has only ${countOf(only.count, 'line')}`]
      : []),
    ...(empty.length === 0 ? [] : [`${without(empty)} of ${total} without text; what is in pictures, as of a scan, is not read`]),
    ...(unread.length > 0 ? [`text is missing: it is in the encoding ${unread.slice(0, 5).join(', ')}, which is not known here`] : []),
    ...(lostChars > 0 ? [`the fonts do not say what ${countOf(lostChars, 'character')} mean; each is shown as \ufffd`] : []),
    ...goOn(pages, { total, offset }),
  ];
  return ok([...shown, ...notes.map((note) => `[${note}]`)].join('\n'));
}

function without(numbers: readonly number[]): string {
  const [first, last] = [numbers[0], numbers.at(-1)];
  if (first === last) return `page ${first}`;
  return Number(last) - Number(first) + 1 === numbers.length ? `pages ${first} to ${last}` : `pages ${numbers.join(', ')}`;
}

function goOn(pages: ReadPdf['pages'], { total, offset }: { readonly total: number; readonly offset: number }): string[] {
  const last = pages.at(-1);
  if (last === undefined) return [];
  const read = (pages.length === 1 ? offset - 1 : 0) + last.lines.length;
  if (last.lines.length > 0 && read < last.count) return [`go on with page ${last.number} and offset ${read + 1}`];
  return last.number < total ? [`go on with page ${last.number + 1}`] : [];
}
