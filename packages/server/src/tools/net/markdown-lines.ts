import { decodeEntities } from './entities.ts';

/** No line is longer. */
const lineChars = 64_000;
const maxDepth = 20;
const maxCells = 200;
const maxUrlChars = 500;

const blocks: ReadonlySet<string> = new Set(
  'address article aside body br dd details dialog div dl dt fieldset figcaption figure footer form header html main nav option section select summary tbody tfoot thead title'.split(
    ' ',
  ),
);
/** Blocks that stand by themselves, with an empty line before and after. */
const apart: ReadonlySet<string> = new Set(['p', 'table', 'hr']);
const codes: ReadonlySet<string> = new Set(['code', 'kbd', 'samp', 'tt']);

/**
 * Markdown from a page as it is read, text by text and tag by tag: headings, lists, links, quotations, tables and code; what else there is
 * becomes lines. Meant for reading, not for trusting: nothing is escaped. Takes time proportional to what it is given.
 */
export class MarkdownLines {
  readonly #maxChars: number;
  readonly #base: string | undefined;
  readonly #lines: string[] = [];
  #chars = 0;
  #line = '';
  /** What the next line begins with, a list item or a heading. */
  #lead = '';
  #isGapWanted = false;
  #quotes = 0;
  #pre = 0;
  #tables = 0;
  #cells = 0;
  #row: 'none' | 'first' | 'other' = 'none';
  readonly #lists: { readonly isOrdered: boolean; count: number }[] = [];
  /** Its text is kept apart until it ends: a line that is cut and joined at each link would take a time of its own. */
  #link: { readonly url: string; text: string } | null = null;
  #endsInBlank = false;

  constructor(maxChars: number, base: string | undefined) {
    this.#maxChars = maxChars;
    this.#base = base;
  }

  #write(text: string): void {
    if (text === '') return;
    this.#endsInBlank = text.endsWith(' ');
    if (this.#link === null) this.#line += text;
    else this.#link.text += text;
  }

  #push(text: string): void {
    this.#lines.push(text);
    this.#chars += text.length + 1;
  }

  #end(): void {
    this.#closeLink();
    const parts = this.#pre > 0 ? [decodeEntities(this.#line)] : decodeEntities(this.#line).split('\n').map(plainLine);
    this.#line = '';
    for (const text of parts) {
      if (this.#pre === 0 && text === '') continue;
      if (this.#isGapWanted && this.#lines.length > 0 && this.#pre === 0) this.#push('');
      this.#isGapWanted = false;
      this.#push(`${'> '.repeat(Math.min(this.#quotes, 3))}${this.#lead}${text}`);
      this.#lead = '';
    }
  }

  #block(isApart: boolean): void {
    if (this.#row !== 'none') {
      // A cell is one line, whatever it holds.
      if (!this.#endsInBlank) this.#write(' ');
      return;
    }
    this.#closeLink();
    if (this.#line !== '') this.#end();
    if (isApart && this.#lists.length === 0) this.#isGapWanted = true;
  }

  #closeLink(): void {
    if (this.#link === null) return;
    const { url, text } = this.#link;
    this.#link = null;
    this.#line += text.trim() === '' ? text : `[${text.trim()}](${url})`;
  }

  #endRow(): void {
    if (this.#row === 'none') return;
    const isFirst = this.#row === 'first';
    this.#closeLink();
    if (this.#cells > 0) this.#line += ' |';
    this.#row = 'none';
    if (this.#line !== '') this.#end();
    if (isFirst && this.#cells > 0) this.#push(`|${' --- |'.repeat(Math.min(this.#cells, maxCells))}`);
    this.#cells = 0;
  }

  #openItem(): void {
    this.#block(false);
    const list = this.#lists.at(-1);
    if (list !== undefined) list.count += 1;
    const indent = '  '.repeat(Math.max(0, this.#lists.length - 1));
    this.#lead = `${indent}${list?.isOrdered ? `${list.count}. ` : '- '}`;
  }

  #fence(isOpen: boolean): void {
    this.#block(true);
    if (this.#row !== 'none') return;
    if (isOpen) {
      if (this.#isGapWanted && this.#lines.length > 0) this.#push('');
      this.#isGapWanted = false;
      this.#push('```');
      this.#pre += 1;
    } else if (this.#pre > 0) {
      this.#pre = 0;
      this.#push('```');
      this.#isGapWanted = true;
    }
  }

  #open(name: string, tag: string): void {
    if (this.#pre > 0 && name !== 'br') return;
    const level = /^h([1-6])$/.exec(name)?.[1];
    if (level !== undefined) {
      this.#block(true);
      if (this.#row === 'none') this.#lead = `${'#'.repeat(Number(level))} `;
    } else if (name === 'ul' || name === 'ol') {
      this.#block(true);
      if (this.#lists.length < maxDepth) this.#lists.push({ isOrdered: name === 'ol', count: 0 });
    } else if (name === 'li') this.#openItem();
    else if (name === 'pre') this.#fence(true);
    else if (name === 'blockquote') {
      this.#block(true);
      this.#quotes += 1;
    } else if (name === 'tr') {
      this.#endRow();
      this.#block(false);
      this.#row = this.#tables > 0 && this.#lead === '' ? 'first' : 'other';
      if (this.#tables > 0) this.#tables = -1;
    } else if (name === 'td' || name === 'th') {
      if (this.#row === 'none') this.#row = 'other';
      this.#closeLink();
      this.#cells += 1;
      this.#write(this.#cells === 1 ? '| ' : ' | ');
    } else if (name === 'a') {
      this.#closeLink();
      const url = urlOf(attribute(tag, 'href'), this.#base);
      if (url !== null) this.#link = { url, text: '' };
    } else if (name === 'img') {
      const alt = attribute(tag, 'alt').trim();
      if (alt !== '') this.#write(`![${alt.slice(0, 200)}]`);
    } else if (codes.has(name)) this.#write('`');
    else if (name === 'table') {
      this.#endRow();
      this.#block(true);
      this.#tables = 1;
    } else if (name === 'hr') {
      this.#block(true);
      this.#line = '---';
      this.#block(true);
    } else if (blocks.has(name) || apart.has(name)) this.#block(apart.has(name));
  }

  #close(name: string): void {
    if (name === 'pre') this.#fence(false);
    if (name === 'pre' || this.#pre > 0) return;
    if (name === 'a') this.#closeLink();
    else if (codes.has(name)) this.#write('`');
    else if (name === 'tr' || name === 'table') {
      this.#endRow();
      if (name === 'table') this.#block(true);
    } else if (name === 'ul' || name === 'ol') {
      this.#block(false);
      this.#lists.pop();
      if (this.#lists.length === 0) this.#isGapWanted = true;
    } else if (name === 'li') this.#block(false);
    else if (name === 'blockquote') {
      this.#block(true);
      this.#quotes = Math.max(0, this.#quotes - 1);
    } else if (/^h[1-6]$/.test(name)) {
      this.#block(true);
      this.#lead = '';
    } else if (blocks.has(name) || apart.has(name)) this.#block(apart.has(name));
  }

  #bound(): void {
    if (this.#line.length + (this.#link?.text.length ?? 0) > lineChars) this.#end();
  }

  /** Nothing more is needed. */
  get full(): boolean {
    return this.#chars > this.#maxChars;
  }

  text(text: string): void {
    if (this.#pre > 0) {
      const parts = text.split('\n');
      for (const [index, part] of parts.entries()) {
        this.#write(part);
        if (index < parts.length - 1) this.#end();
      }
    } else this.#write(text.replaceAll('\n', ' '));
    this.#bound();
  }

  tag(name: string, isEnd: boolean, tag: string): void {
    if (isEnd) this.#close(name);
    else this.#open(name, tag);
    this.#bound();
  }

  markdown(): string {
    this.#endRow();
    this.#closeLink();
    if (this.#line !== '') this.#end();
    if (this.#pre > 0) this.#push('```');
    const whole = this.#lines.join('\n');
    return whole.length > this.#maxChars ? whole.slice(0, this.#maxChars).toWellFormed() : whole;
  }
}

function plainLine(text: string): string {
  return (/[^\S ]|\s\s/.test(text) ? text.replaceAll(/\s+/g, ' ') : text).trim();
}

function attribute(tag: string, name: 'href' | 'alt'): string {
  const found =
    (name === 'href' ? /\shref\s?=\s?("[^"]*"|'[^']*'|[^\s"'>]+)/i : /\salt\s?=\s?("[^"]*"|'[^']*'|[^\s"'>]+)/i).exec(tag)?.[1] ?? '';
  return decodeEntities(/^["']/.test(found) ? found.slice(1, -1) : found);
}

/** Null for what leads nowhere from here: places within the page, scripts, data. */
function urlOf(href: string, base: string | undefined): string | null {
  if (href === '' || href.startsWith('#')) return null;
  const url = URL.parse(href.trim(), base);
  if (url === null || !['http:', 'https:', 'mailto:'].includes(url.protocol) || url.href.length > maxUrlChars) return null;
  return url.href;
}
