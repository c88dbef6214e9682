import { dictionary } from '@nexus-agent/protocol';

const dropped = ['script', 'style', 'noscript', 'template', 'svg', 'head'];
const blocks = new Set(
  'address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section table tbody td th thead title tr ul'.split(
    ' ',
  ),
);
const entities: Readonly<Record<string, string>> = dictionary({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ' });

/**
 * The readable text of an HTML page: the title, then the text with a line for each block; scripts, styles and tags are
 * gone. Meant for reading, not for trusting. Takes time proportional to the length.
 */
export function htmlToText(html: string): string {
  // Of names only: some other letters get longer, and then places in the two texts would differ.
  const lower = html.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
  const parts: string[] = [];
  let at = 0;
  const title = /<title[^>]{0,200}>([^<]{0,500})/i.exec(html)?.[1];
  if (title !== undefined) parts.push(title, '\n');
  while (at < html.length) {
    const open = html.indexOf('<', at);
    if (open < 0) break;
    parts.push(html.slice(at, open));
    if (lower.startsWith('<!--', open)) {
      at = after(lower, '-->', open + 4);
      continue;
    }
    const name = /^<\/?([a-z][a-z0-9]*)/.exec(lower.slice(open, open + 32))?.[1];
    if (name === undefined && !/^<[!?/]/.test(lower.slice(open, open + 2))) {
      parts.push('<');
      at = open + 1;
      continue;
    }
    if (name !== undefined && dropped.includes(name) && lower[open + 1] !== '/') {
      at = after(lower, `</${name}`, open + 1);
      at = at >= html.length ? at : after(lower, '>', at);
      continue;
    }
    if (name !== undefined && blocks.has(name)) parts.push('\n');
    at = after(lower, '>', open + 1);
  }
  if (at < html.length) parts.push(html.slice(at));
  return decodeEntities(parts.join(''))
    .split('\n')
    .map((line) => line.replaceAll(/\s+/g, ' ').trim())
    .filter((line) => line !== '')
    .join('\n');
}

function after(text: string, wanted: string, from: number): number {
  const at = text.indexOf(wanted, from);
  return at < 0 ? text.length : at + wanted.length;
}

function decodeEntities(text: string): string {
  return text.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,8}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return entities[name.toLowerCase()] ?? whole;
    const code = decimal !== undefined ? Number(decimal) : Number.parseInt(hex ?? '', 16);
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : whole;
  });
}
