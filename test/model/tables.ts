/** JSON without quotes, in one order, and without what is absent. */
export function text(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `[${value.map(text).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, field]) => `${name} ${text(field)}`)
    .join(', ')}}`;
}

type Table = ReadonlyMap<string, Readonly<Record<string, string>>>;

/** Rows by name, each field as text; a name that comes again is numbered. */
export function tableOf<T extends object>(rows: readonly T[], nameOf: (row: T) => string): Table {
  const table = new Map<string, Readonly<Record<string, string>>>();
  const sorted = rows.map((row) => ({ name: nameOf(row), row })).sort((one, other) => (text(one.row) < text(other.row) ? -1 : 1));
  for (const { name, row } of sorted) {
    let unique = name;
    for (let again = 2; table.has(unique); again++) unique = `${name} (${again})`;
    const fields = Object.entries(row).filter(([, value]) => value !== undefined);
    table.set(unique, Object.fromEntries(fields.map(([field, value]) => [field, text(value)])));
  }
  return table;
}

/** Field by field, what the model and the store say differently. */
export function differencesOf(what: string, model: Table, store: Table): readonly string[] {
  return [...new Set([...model.keys(), ...store.keys()])].sort().flatMap((name) => {
    const [expected, actual] = [model.get(name), store.get(name)];
    if (expected === undefined) return [`${what} ${name}: the model has none, the store ${text(actual)}`];
    if (actual === undefined) return [`${what} ${name}: the store has none, the model ${text(expected)}`];
    const fields = [...new Set([...Object.keys(expected), ...Object.keys(actual)])];
    const differ = fields.filter((field) => expected[field] !== actual[field]);
    return differ.map((field) => `${what} ${name}: ${field} is ${actual[field]} in the store, ${expected[field]} in the model`);
  });
}
