/**
 * A JavaScript program for `code_js` that reads tables, picks the columns that the task names, and gives their figures:
 * rows, sum, mean, median, min and max with the row's label. The tables are what the tool passes as `files`, or those
 * in the program when the tool cannot pass any.
 */
export function csvProgram(tables: readonly { readonly path: string; readonly text: string }[] | 'files', task: string): string {
  const source = tables === 'files' ? 'Object.entries(files).map(([path, text]) => ({ path, text }))' : JSON.stringify(tables);
  return `const tables = ${source};
const words = ${JSON.stringify(task.toLowerCase())};
function cells(line, mark) {
  const out = []; let cell = ''; let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (quoted) { if (c === '"' && line[i + 1] === '"') { cell += '"'; i++; } else if (c === '"') quoted = false; else cell += c; }
    else if (c === '"') quoted = true;
    else if (c === mark) { out.push(cell); cell = ''; }
    else cell += c;
  }
  return [...out, cell];
}
const result = tables.map(({ path, text }) => {
  const lines = text.split('\\n').filter((line) => line.trim() !== '' && !/^[#[]/.test(line));
  const mark = (lines[0] ?? '').includes('\\t') ? '\\t' : (lines[0] ?? '').includes(';') ? ';' : ',';
  const header = cells(lines[0] ?? '', mark).map((name) => name.trim());
  const rows = lines.slice(1).map((line) => cells(line, mark));
  const number = (cell) => { const text = (cell ?? '').replace(/[ _]/g, '').replace(/,(?=\\d{3}\\b)/g, ''); return text === '' ? NaN : Number(text); };
  const numeric = header.map((name, at) => at).filter((at) => rows.length > 0 && rows.filter((row) => !Number.isNaN(number(row[at]))).length >= rows.length / 2);
  const label = header.findIndex((name, at) => !numeric.includes(at));
  const named = numeric.filter((at) => {
    const parts = header[at].toLowerCase().split(/[^a-z0-9]+/).filter((part) => part.length > 2);
    return words.includes(header[at].toLowerCase()) || parts.some((part) => words.includes(part));
  });
  const chosen = named.length > 0 ? named : numeric.filter((at) => !/^(id|year|rank|nr|no)$/i.test(header[at]));
  return { file: path, rows: rows.length, columns: chosen.map((at) => {
    const items = rows.map((row) => ({ label: label === -1 ? '' : row[label], value: number(row[at]) })).filter((item) => !Number.isNaN(item.value));
    const sorted = [...items].sort((a, b) => a.value - b.value);
    const sum = Math.round(items.reduce((total, item) => total + item.value, 0) * 1e6) / 1e6;
    const middle = sorted.length >> 1;
    const median = sorted.length === 0 ? null : sorted.length % 2 ? sorted[middle].value : (sorted[middle - 1].value + sorted[middle].value) / 2;
    return { column: header[at], count: items.length, sum, mean: items.length ? Math.round(sum / items.length * 100) / 100 : null, median, min: sorted[0] ?? null, max: sorted[sorted.length - 1] ?? null };
  }) };
});
result;
`;
}
