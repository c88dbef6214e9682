import type { Timers } from '#core';
import { MarkdownLines } from './markdown-lines.ts';

const dropped: ReadonlySet<string> = new Set(['script', 'style', 'noscript', 'template', 'svg', 'head']);

/** Marks and characters of one slice: about as many as are read in a few milliseconds. */
const sliceMarks = 1_000;
const sliceChars = 16_000;

export interface TextLimits {
  /** Most characters of the text; what follows is left out. */
  readonly maxChars?: number;
  /** Where the page is: its links are completed by it. */
  readonly base?: string;
  readonly signal?: AbortSignal;
  /** Give others their turn between slices. */
  readonly timers: Pick<Timers, 'soon'>;
}

/**
 * An HTML page as Markdown: the title, then the text with its headings, lists, links, tables and code; scripts, styles and other tags are
 * gone. Meant for reading, not for trusting. Takes time proportional to the length, in slices: others have their turn between them.
 */
export async function htmlToMarkdown(
  html: string,
  { maxChars = Number.POSITIVE_INFINITY, base, signal, timers }: TextLimits,
): Promise<string> {
  const lines = new MarkdownLines(maxChars, base);
  const title = /<title[^>]{0,200}>([^<]{0,500})/i.exec(html.slice(0, titleWithin))?.[1];
  if (title !== undefined) {
    lines.text(title);
    lines.tag('p', true, '');
  }
  const marks = createMarks(html);
  for (let more = true; more && !lines.full; ) {
    const end = marks.at + sliceChars;
    for (let read = 0; more && !lines.full && read < sliceMarks && marks.at < end; read++) more = marks.next(lines);
    if (!more) break;
    await timers.soon();
    signal?.throwIfAborted();
  }
  return lines.markdown();
}

/** Attributes that begin further in are not read. */
const maxTagChars = 2_000;
/** A title that stands further down is none. */
const titleWithin = 50_000;
const isMark = /^[!?/]/;
const nameAt = /<\/?([a-z][a-z0-9]{0,29})/iy;

interface Page {
  text(text: string): void;
  tag(name: string, isEnd: boolean, tag: string): void;
}

/** Reads a page mark by mark: the text before it, and it. */
function createMarks(html: string) {
  let at = 0;
  /** What was looked for in vain is not looked for again: it would take its time from every place. */
  const missing = new Set<string>();

  function after(wanted: string, from: number): number {
    if (missing.has(wanted)) return html.length;
    const found = html.indexOf(wanted, from);
    if (found >= 0) return found + wanted.length;
    missing.add(wanted);
    return html.length;
  }

  /** Behind the end of an element whose content is dropped, whatever the case of its name. */
  function afterElement(name: string, from: number): number {
    if (missing.has(name)) return html.length;
    const close = new RegExp(`</${name}`, 'gi'); // one of the names above
    close.lastIndex = from;
    if (close.exec(html) === null) {
      missing.add(name);
      return html.length;
    }
    return after('>', close.lastIndex);
  }

  return {
    /** How much of the page was read. */
    get at() {
      return at;
    },
    /** False at the end of the page. */
    next(page: Page): boolean {
      if (at >= html.length) return false;
      const found = html.indexOf('<', at);
      const open = found === -1 ? html.length : found;
      if (open - at > sliceChars) {
        page.text(html.slice(at, at + sliceChars));
        at += sliceChars;
        return true;
      }
      if (open > at) page.text(html.slice(at, open));
      if (found === -1) return false;
      if (html.startsWith('<!--', open)) {
        at = after('-->', open + 4);
        return true;
      }
      nameAt.lastIndex = open;
      const name = nameAt.exec(html)?.[1]?.toLowerCase();
      if (name === undefined && !isMark.test(html.charAt(open + 1))) {
        page.text('<');
        at = open + 1;
        return true;
      }
      if (name !== undefined && dropped.has(name) && html[open + 1] !== '/') {
        at = afterElement(name, open + 1);
        return true;
      }
      at = after('>', open + 1);
      if (name !== undefined) page.tag(name, html[open + 1] === '/', html.slice(open, Math.min(at, open + maxTagChars)));
      return true;
    },
  };
}
