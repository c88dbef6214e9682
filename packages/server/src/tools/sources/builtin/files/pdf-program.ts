/**
 * Reads the text of a PDF inside the engine of the sandbox, after {@link pdfLibrary}. It is given the bytes of the file as characters in
 * `files.file`, and in `input` the first `page` (from 1), how many `pages` at most, the first line `offset` (from 1) of that page, `limit` and
 * `maxChars`. It gives `{ pages, total, unread }`, or `{ problem }` in words: each page with its lines that fit and how many it has, the number
 * of pages of the document, and the encodings whose text is left out.
 */
export const pdfProgram = `
class Problem extends Error {}

async function readPdf() {
  const { page: first, pages: maxPages, offset, limit, maxChars } = input;
  const bytes = new Uint8Array(files.file.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = files.file.charCodeAt(at);
  const encodings = encodingsOfDocument();
  const document = await opened(bytes, encodings.Factory);
  const total = document.numPages;
  const pages = [];
  let lines = 0;
  let chars = 0;
  for (let number = first; number <= total && pages.length < maxPages; number++) {
    const found = await linesOf(document, number);
    const from = number === first ? offset - 1 : 0;
    const shown = [];
    for (const line of found.slice(from)) {
      const text = line.length > maxChars ? line.slice(0, maxChars) + '…' : line;
      // As it leaves the engine.
      const length = JSON.stringify(text).length + 1;
      if (lines >= limit || (lines > 0 && chars + length > maxChars)) break;
      shown.push(text);
      lines += 1;
      chars += length;
    }
    // A page of which nothing fits is the first of the next answer.
    if (found.length > from && shown.length === 0) break;
    pages.push({ number, lines: shown, count: found.length });
    if (from + shown.length < found.length) break;
  }
  return { pages, total, unread: [...encodings.unread] };
}

async function opened(data, BinaryDataFactory) {
  const settings = {
    data, BinaryDataFactory, cMapUrl: '/', cMapPacked: false, useWorkerFetch: false, useWasm: false, disableFontFace: true, useSystemFonts: true,
    isEvalSupported: false, isOffscreenCanvasSupported: false, isImageDecoderSupported: false, enableXfa: false, verbosity: 0,
  };
  try {
    return await pdfjs.getDocument(settings).promise;
  } catch (error) {
    const { name, message } = error;
    if (name === 'PasswordException') throw new Problem('it is encrypted, and opens only with a password');
    if (/encrypt/i.test(message)) throw new Problem('it is encrypted in a way that is not known here');
    throw new Problem('it is broken' + (typeof message === 'string' && message !== '' ? ' (' + message.slice(0, 200) + ')' : ''));
  }
}

/** What is written into fields and notes lies on the page, and is no part of it. */
function* filledIn(annotations) {
  for (const { subtype, fieldName, fieldValue, contentsObj } of annotations) {
    const value = Array.isArray(fieldValue) ? fieldValue.join(', ') : fieldValue;
    if (subtype === 'Widget' && typeof value === 'string' && value !== '' && value !== 'Off') yield '[field ' + fieldName + ': ' + value + ']';
    const note = contentsObj?.str;
    if (subtype !== 'Widget' && typeof note === 'string' && note !== '') yield '[note: ' + note + ']';
  }
}

/** As it stands in the page: what the page draws first comes first. */
async function linesOf(document, number) {
  let text = '';
  try {
    const page = await document.getPage(number);
    const { items } = await page.getTextContent();
    for (const { str, hasEOL } of items) text += str + (hasEOL ? '\\n' : '');
    for (const line of filledIn(await page.getAnnotations())) text += '\\n' + line;
    page.cleanup();
  } catch (error) {
    return ['[this page cannot be read: ' + String(error.message).slice(0, 200) + ']'];
  }
  const lines = text
    // A character in two halves of which one is missing is none.
    .toWellFormed()
    // What the fonts of the file have no character for.
    .replace(/[\\x00-\\x08\\x0b-\\x1f\\x7f]/g, '\\ufffd')
    .split('\\n')
    .map((line) => line.trimEnd());
  return lines.filter((line, index) => line !== '' || (index > 0 && lines[index - 1] !== '' && index < lines.length - 1));
}

/**
 * Documents may name encodings that readers have to bring along. Of these only the ones in which characters are those of Unicode need no
 * table; which others a document wanted is remembered.
 */
function encodingsOfDocument() {
  const unread = new Set();
  let isUnicode = false;
  const whole = (what) => '1 begincodespacerange <0000> <ffff> endcodespacerange 1 ' + what;
  class Factory {
    async fetch({ kind, filename }) {
      if (kind === 'cMapUrl' && /^Uni(GB|CNS|JIS|KS)-(UCS2|UTF16)-[HV]$/.test(filename)) {
        isUnicode = true;
        return ascii(whole('begincidrange <0000> <ffff> 0 endcidrange'));
      }
      if (kind === 'cMapUrl' && isUnicode && /^Adobe-(GB1|CNS1|Japan1|Korea1)-UCS2$/.test(filename))
        return ascii(whole('beginbfrange <0000> <ffff> <0000> endbfrange'));
      if (kind === 'cMapUrl') unread.add(filename);
      throw new Error('there is no ' + filename);
    }
  }
  return { unread, Factory };
}

const ascii = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));

let answer;
try {
  answer = await readPdf();
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  answer = { problem: error.message };
}
answer;
`;
