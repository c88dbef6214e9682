import type { Timers } from '#core';

const dropped: ReadonlySet<string> = new Set(['script', 'style', 'noscript', 'template', 'svg', 'head']);
const blocks: ReadonlySet<string> = new Set(
  'address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section table tbody td th thead title tr ul'.split(
    ' ',
  ),
);
const entities: ReadonlyMap<string, string> = new Map(Object.entries({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ' }));

/** Marks and characters of one slice: about as many as are read in a few milliseconds. */
const sliceMarks = 1_000;
const sliceChars = 16_000;
/** No line is longer. */
const lineChars = 64_000;

export interface TextLimits {
  /** Most characters of the text; what follows is left out. */
  readonly maxChars?: number;
  readonly signal?: AbortSignal;
  /** Give others their turn between slices. */
  readonly timers: Pick<Timers, 'soon'>;
}

/**
 * The readable text of an HTML page: the title, then the text with a line for each block; scripts, styles and tags are
 * gone. Meant for reading, not for trusting. Takes time proportional to the length, in slices: others have their turn between them.
 */
export async function htmlToText(html: string, { maxChars = Number.POSITIVE_INFINITY, signal, timers }: TextLimits): Promise<string> {
  const lines = createLines(maxChars);
  const title = /<title[^>]{0,200}>([^<]{0,500})/i.exec(html.slice(0, titleWithin))?.[1];
  if (title !== undefined) lines.add(`${title}\n`);
  const marks = createMarks(html);
  for (let more = true; more && !lines.full; ) {
    const end = marks.at + sliceChars;
    for (let read = 0; more && !lines.full && read < sliceMarks && marks.at < end; read++) more = marks.next(lines.add);
    if (!more) break;
    await timers.soon();
    signal?.throwIfAborted();
  }
  return lines.text();
}

/** A title that stands further down is none. */
const titleWithin = 50_000;
const isMark = /^[!?/]/;
const nameAt = /<\/?([a-z][a-z0-9]{0,29})/iy;

/** Reads a page mark by mark: text before it goes to `add`. */
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
    next(add: (text: string) => void): boolean {
      if (at >= html.length) return false;
      const found = html.indexOf('<', at);
      const open = found === -1 ? html.length : found;
      if (open - at > sliceChars) {
        add(html.slice(at, at + sliceChars));
        at += sliceChars;
        return true;
      }
      if (open > at) add(html.slice(at, open));
      if (found === -1) return false;
      if (html.startsWith('<!--', open)) {
        at = after('-->', open + 4);
        return true;
      }
      nameAt.lastIndex = open;
      const name = nameAt.exec(html)?.[1]?.toLowerCase();
      if (name === undefined && !isMark.test(html.charAt(open + 1))) {
        add('<');
        at = open + 1;
        return true;
      }
      if (name !== undefined && dropped.has(name) && html[open + 1] !== '/') {
        at = afterElement(name, open + 1);
        return true;
      }
      if (name !== undefined && blocks.has(name)) add('\n');
      at = after('>', open + 1);
      return true;
    },
  };
}

/** Lines of text as it comes: blanks are one, and empty lines none. */
function createLines(maxChars: number) {
  const lines: string[] = [];
  let line = '';
  let chars = 0;

  function end(): void {
    if (line === '') return;
    // Entities may stand for blanks and line ends, too.
    for (const part of decodeEntities(line).split('\n')) {
      const plain = (/[^\S ]|\s\s/.test(part) ? part.replaceAll(/\s+/g, ' ') : part).trim();
      if (plain === '') continue;
      lines.push(plain);
      chars += plain.length + 1;
    }
    line = '';
  }

  return {
    get full() {
      return chars > maxChars;
    },
    add(text: string): void {
      const from = text.indexOf('\n');
      if (from === -1) line += text;
      else {
        const parts = text.split('\n');
        for (const [index, part] of parts.entries()) {
          line += part;
          if (index < parts.length - 1) end();
        }
      }
      if (line.length > lineChars) end();
    },
    text(): string {
      end();
      const whole = lines.join('\n');
      return whole.length > maxChars ? whole.slice(0, maxChars).toWellFormed() : whole;
    },
  };
}

function decodeEntities(text: string): string {
  if (!text.includes('&')) return text;
  return text.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,8}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return entities.get(name.toLowerCase()) ?? whole;
    const code = decimal !== undefined ? Number(decimal) : Number.parseInt(hex ?? '', 16);
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : whole;
  });
}
