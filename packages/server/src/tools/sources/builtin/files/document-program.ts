/**
 * Reads Word documents and Excel workbooks inside the engine of the sandbox, after the library `fflate`. It is given the bytes of the file as
 * characters in `files.file`, and in `input` its `kind`, the `sheet`, the first line `offset` (from 1), `limit` and `maxChars`. It gives
 * `{ lines, total, sheets }`, or `{ problem }` in words. Tags are found one after the other, and no entity stands for more than a character:
 * what a file can cost is what the engine allows.
 */
export const documentProgram = `
const { kind, sheet, offset, limit, maxChars, maxPartBytes } = input;
const bytes = new Uint8Array(files.file.length);
for (let at = 0; at < bytes.length; at++) bytes[at] = files.file.charCodeAt(at);

function parts(wanted) {
  let left = maxPartBytes;
  let tooLarge = false;
  const found = fflate.unzipSync(bytes, {
    filter({ name, originalSize }) {
      if (!wanted(name)) return false;
      left -= originalSize;
      if (left < 0) tooLarge = true;
      return left >= 0;
    },
  });
  if (tooLarge) throw new Problem('unpacked it is larger than ' + maxPartBytes + ' bytes');
  return (name) => (Object.hasOwn(found, name) ? textOf(found[name]) : null);
}

class Problem extends Error {}

/** As the engine has no decoder: what is no ASCII is decoded run by run. */
function textOf(part) {
  return fflate.strFromU8(part, true).replace(/[\\x80-\\xff]+/g, (run) => {
    try {
      return decodeURIComponent(escape(run));
    } catch {
      return '\\ufffd';
    }
  });
}

const names = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
function plain(text) {
  if (!text.includes('&')) return text;
  return text.replace(/&(#x?)?([0-9a-zA-Z]{1,8});/g, (whole, mark, name) => {
    if (mark === undefined) return Object.hasOwn(names, name) ? names[name] : whole;
    const code = mark === '#' ? Number(name) : parseInt(name, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function scan(xml, onTag, onText) {
  for (let at = 0; ; ) {
    const open = xml.indexOf('<', at);
    if (open < 0) return;
    if (open > at) onText(xml.slice(at, open));
    const close = xml.indexOf('>', open);
    if (close < 0) throw new Problem('its XML breaks off');
    const given = xml.slice(open + 1, close);
    const tag = given.includes('\\n') ? given.replaceAll('\\n', ' ') : given;
    if (tag[0] === '/') onTag(tag.slice(1), true, tag);
    else {
      const isWhole = tag.endsWith('/');
      const end = tag.indexOf(' ');
      const name = end >= 0 ? tag.slice(0, end) : isWhole ? tag.slice(0, -1) : tag;
      onTag(name, false, tag);
      if (isWhole) onTag(name, true, '');
    }
    at = close + 1;
  }
}

function attribute(tag, name) {
  const at = tag.indexOf(' ' + name + '="');
  if (at < 0) return null;
  const from = at + name.length + 3;
  const to = tag.indexOf('"', from);
  return to < 0 ? null : plain(tag.slice(from, to));
}

const lines = [];
let total = 0;
let chars = 0;
let isFull = false;
function addLine(text) {
  total += 1;
  if (total < offset || isFull) return;
  if (lines.length >= limit || (lines.length > 0 && chars + text.length > maxChars)) {
    isFull = true;
    return;
  }
  const shown = text.length > maxChars ? text.slice(0, maxChars) + '…' : text;
  lines.push(shown);
  chars += shown.length + 1;
}

function readWord() {
  const xml = parts((name) => name === 'word/document.xml')('word/document.xml');
  if (xml === null) throw new Problem('it has no word/document.xml');
  let text = '';
  let lead = '';
  let row = null;
  let inText = false;
  scan(
    xml,
    (name, isEnd, tag) => {
      if (name === 'w:t') inText = !isEnd;
      else if (isEnd) {
        if (name === 'w:p') {
          if (row !== null) text += ' ';
          else {
            if (text.trim() !== '') addLine(lead + text.trimEnd());
            text = lead = '';
          }
        } else if (name === 'w:tc' && row !== null) {
          row.push(text.trim());
          text = '';
        } else if (name === 'w:tr' && row !== null) {
          addLine('| ' + row.join(' | ') + ' |');
          row = null;
          text = lead = '';
        }
      } else if (name === 'w:tr') row = [];
      else if (name === 'w:tab') text += '\\t';
      else if (name === 'w:br') text += ' ';
      else if (name === 'w:numPr' && row === null) lead = '- ';
      else if (name === 'w:pStyle' && row === null) {
        const level = /^(?:Heading|berschrift|Titre)([1-6])$/.exec(attribute(tag, 'w:val') ?? '');
        if (level !== null) lead = '#'.repeat(Number(level[1])) + ' ';
      }
    },
    (part) => {
      if (inText) text += plain(part);
    },
  );
  return { lines, total, sheets: [] };
}

function sharedTexts(xml) {
  const texts = [];
  let text = '';
  let inText = false;
  let inPhonetic = false;
  scan(
    xml ?? '',
    (name, isEnd) => {
      if (name === 't') inText = !isEnd;
      else if (name === 'rPh') inPhonetic = !isEnd;
      else if (name === 'si') {
        if (isEnd) texts.push(text);
        text = '';
      }
    },
    (part) => {
      if (inText && !inPhonetic) text += plain(part);
    },
  );
  return texts;
}

/** For each style of cells whether its numbers are dates. */
function dateStyles(xml) {
  const custom = new Set();
  const styles = [];
  let inCells = false;
  scan(
    xml ?? '',
    (name, isEnd, tag) => {
      if (name === 'cellXfs') inCells = !isEnd;
      else if (isEnd) return;
      else if (name === 'numFmt') {
        const code = (attribute(tag, 'formatCode') ?? '').replace(/"[^"]*"|\\\\.|\\[[^\\]]*\\]/g, '');
        if (/[dmyhs]/i.test(code) && !/general/i.test(code)) custom.add(attribute(tag, 'numFmtId'));
      } else if (name === 'xf' && inCells) {
        const id = attribute(tag, 'numFmtId');
        const number = Number(id);
        styles.push((number >= 14 && number <= 22) || (number >= 45 && number <= 47) || custom.has(id));
      }
    },
    () => {},
  );
  return styles;
}

function dateOf(serial, is1904) {
  const days = Number(serial) + (is1904 ? 1462 : 0);
  if (!(days >= 0 && days < 2958466)) return serial;
  const text = new Date(Math.round((days - 25569) * 86400) * 1000).toISOString();
  return text.endsWith('T00:00:00.000Z') ? text.slice(0, 10) : text.slice(0, 19);
}

const maxColumns = 16384;
function columnOf(reference) {
  let column = 0;
  for (let at = 0; at < reference.length && at < 4; at++) {
    const code = reference.charCodeAt(at) - 64;
    if (code < 1 || code > 26) break;
    column = column * 26 + code;
  }
  return Math.min(column, maxColumns) - 1;
}

const cellText = (text) => (/[",\\n\\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);

function readExcel() {
  const book = parts((name) => name === 'xl/workbook.xml' || name === 'xl/_rels/workbook.xml.rels');
  const workbook = book('xl/workbook.xml');
  if (workbook === null) throw new Problem('it has no xl/workbook.xml');
  const targets = new Map();
  scan(book('xl/_rels/workbook.xml.rels') ?? '', (name, isEnd, tag) => {
    if (name === 'Relationship' && !isEnd) targets.set(attribute(tag, 'Id'), attribute(tag, 'Target') ?? '');
  }, () => {});
  const sheets = [];
  let is1904 = false;
  scan(workbook, (name, isEnd, tag) => {
    if (isEnd) return;
    if (name === 'sheet') sheets.push({ name: attribute(tag, 'name') ?? '', target: targets.get(attribute(tag, 'r:id')) ?? '' });
    if (name === 'workbookPr') is1904 = ['1', 'true'].includes(attribute(tag, 'date1904'));
  }, () => {});
  const titles = sheets.map(({ name }) => name).slice(0, 100);
  const chosen = sheet === null ? sheets[0] : sheets.find(({ name }) => name === sheet);
  if (chosen === undefined) throw new Problem('it has no sheet ' + JSON.stringify(sheet) + '; its sheets are ' + JSON.stringify(titles));
  const path = chosen.target.startsWith('/') ? chosen.target.slice(1) : 'xl/' + chosen.target;
  const read = parts((name) => name === path || name === 'xl/sharedStrings.xml' || name === 'xl/styles.xml');
  const xml = read(path);
  if (xml === null) throw new Problem('the sheet ' + JSON.stringify(chosen.name) + ' is missing');
  const shared = sharedTexts(read('xl/sharedStrings.xml'));
  const dates = dateStyles(read('xl/styles.xml'));
  let row = [];
  let cell = null;
  let value = '';
  let inValue = false;
  scan(
    xml,
    (name, isEnd, tag) => {
      if (name === 'v' || name === 't') inValue = !isEnd;
      else if (name === 'row') {
        if (isEnd) addLine(row.map(cellText).join(','));
        else {
          row = [];
          const number = Number(attribute(tag, 'r'));
          // Rows that are left out are empty; a number from the file may say any number of them.
          if (number - 1 > total && number - 1 - total <= 10000) while (total < number - 1) addLine('');
        }
      } else if (name === 'c') {
        if (!isEnd) {
          cell = { column: columnOf(attribute(tag, 'r') ?? ''), type: attribute(tag, 't'), style: Number(attribute(tag, 's')) };
          value = '';
        } else if (cell !== null) {
          const shown =
            cell.type === 's' ? (shared[Number(value)] ?? '') : cell.type === 'b' ? (value === '1' ? 'TRUE' : 'FALSE') : cell.type === null && value !== '' && dates[cell.style] ? dateOf(value, is1904) : value;
          const column = cell.column < 0 ? row.length : cell.column;
          while (row.length < column) row.push('');
          row[column] = shown;
          cell = null;
        }
      }
    },
    (part) => {
      if (inValue && cell !== null) value += plain(part);
    },
  );
  return { lines, total, sheets: titles };
}

try {
  return kind === 'word' ? readWord() : readExcel();
} catch (error) {
  if (error instanceof Problem) return { problem: error.message };
  if (error !== null && typeof error === 'object' && 'code' in error) return { problem: 'it is no whole zip archive (' + error.message + ')' };
  throw error;
}
`;
