import { dictionary } from '@nexus-agent/protocol';

/** The ways in which programs write a text that they repeat: each is searched for as it stands. */

const tooShort = 6;

/** All spellings of a secret, the plain one first; those that would be too short to tell from other text are left out. */
export function spellingsOf(value: string): ReadonlySet<string> {
  const bytes = Buffer.from(value, 'utf8');
  const json = JSON.stringify(value).slice(1, -1);
  const plain = encodeURIComponent(value.toWellFormed()); // half a character cannot be in an address
  const percents = [plain, escaped(plain), everySign(bytes)];
  const spellings = [
    value,
    json,
    json.replaceAll('/', '\\/'),
    ascii(json),
    ascii(json.replace(/[<>&']/g, unicodeEscape)),
    JSON.stringify(json).slice(1, -1),
    // Of addresses: as JavaScript, Python, Go and forms write them, each also in small letters and written twice over.
    ...percents.flatMap((percent) => [percent, lowerEscapes(percent), encodeURIComponent(percent), percent.replaceAll('%20', '+')]),
    encodeURI(value.toWellFormed()),
    // Of pages and mails.
    html(value, { '"': '&quot;', "'": '&#39;' }),
    html(value, { '"': '&#34;', "'": '&#x27;' }),
    html(value, { '"': '&quot;', "'": '&#x27;', '/': '&#x2F;' }),
    value.replaceAll('=', '=3D'),
    wide(value),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    ...base64s(bytes),
    ...(value.length >= 12 ? [value.toLowerCase(), value.toUpperCase()] : []),
  ];
  return new Set(spellings.filter((spelling) => spelling.length >= tooShort));
}

function escaped(percent: string): string {
  return percent.replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}

function everySign(bytes: Buffer): string {
  return [...bytes]
    .map((byte) => {
      const sign = String.fromCharCode(byte);
      return /[A-Za-z0-9]/.test(sign) ? sign : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

function lowerEscapes(text: string): string {
  return text.replace(/%[0-9A-F]{2}/g, (sign) => sign.toLowerCase());
}

function unicodeEscape(sign: string): string {
  return `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function ascii(json: string): string {
  return json.replace(/[\u0080-\uffff]/g, unicodeEscape);
}

/** The bytes of UTF-16, either way round, as they are read by who takes each for a sign. */
function wide(value: string): string {
  return Buffer.from(value, 'utf16le').toString('latin1').slice(0, -1);
}

function html(value: string, signs: Readonly<Record<string, string>>): string {
  const all: Readonly<Record<string, string>> = dictionary({ '&': '&amp;', '<': '&lt;', '>': '&gt;', ...signs });
  return value.replace(/[&<>"'/]/g, (sign) => all[sign] ?? sign);
}

/**
 * What every base64 of a longer text has in it where the text has these bytes, at each of the three places where they can begin: without
 * the signs at both ends that depend on what is beside them. In both alphabets.
 */
function base64s(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const whole = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64');
    const core = whole.slice(Math.ceil((8 * offset) / 6), Math.floor((8 * (offset + bytes.length)) / 6));
    return [core, core.replaceAll('+', '-').replaceAll('/', '_')];
  });
}
