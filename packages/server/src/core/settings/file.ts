import { dictionary } from '@nexus-agent/protocol';
import { NexusError } from '../errors.ts';
import { isObject } from '../json.ts';

export type Tree = Record<string, unknown>;

/** A configuration file as it was read: what it says, before the environment is filled in. */
export interface ConfigFile {
  readonly path: string;
  readonly tree: Readonly<Tree>;
  /** Nobody named it, it was there: what it says may be a stranger's, and takes nothing from the environment. */
  readonly found?: true;
}

/** Reads the text of a YAML file; an empty one says nothing. Throws `config_invalid`, naming the path, for what is no mapping. */
export async function parseConfigFile(path: string, text: string): Promise<ConfigFile> {
  // Loaded only where there is a file: most processes have none.
  const { isScalar, LineCounter, parseDocument, visit } = await import('yaml');
  const lines = new LineCounter();
  // The parser looks for a key among all those before it: 20,000 of them take it ten seconds.
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines, uniqueKeys: false });
  // What the parser says repeats what is there, which may be a secret: it is said in our own words, and where.
  const invalid = (fault: string, offset?: number) => {
    const { line, col } = offset === undefined ? { line: 0, col: 0 } : lines.linePos(offset);
    return new NexusError('config_invalid', `${path} is not valid YAML: ${fault}${line === 0 ? '' : ` at line ${line}, column ${col}`}`);
  };
  const [fault] = document.errors;
  if (fault !== undefined) throw invalid(faults[fault.code] ?? 'it cannot be read', fault.pos[0]);
  visit(document, {
    Map(_key, { items }) {
      const known = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        if (known.has(key.value)) throw invalid(faults.DUPLICATE_KEY ?? '', key.range?.[0]);
        known.add(key.value);
      }
    },
  });
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 50 });
    JSON.stringify(value);
  } catch (error) {
    // Aliases are followed only here: one of nothing, too many of one another, or what holds itself and so has no end.
    if (!(error instanceof ReferenceError || error instanceof TypeError)) throw error;
    throw invalid('an alias (*) names nothing before it or what it lies in, or aliases hold one another too often');
  }
  if (value === null || value === undefined) return { path, tree: {} };
  if (!isObject(value)) throw new NexusError('config_invalid', `${path} must hold a mapping of keys to values, such as port: 8080`);
  return { path, tree: value };
}

const faults: Readonly<Record<string, string>> = dictionary({
  BAD_ALIAS: 'an alias (*) that names nothing',
  BAD_INDENT: 'a line that is indented otherwise than those beside it, or a bracket that is not closed',
  BAD_DQ_ESCAPE: 'a backslash in double quotes that begins no escape; single quotes take it as it is',
  BAD_SCALAR_START: 'a value that begins with a sign such as @, ` or %; put it in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a key whose value begins on the same line as another key; put the value in quotes or on a line of its own',
  DUPLICATE_KEY: 'the same key twice',
  IMPOSSIBLE: 'what cannot be read',
  KEY_OVER_1024_CHARS: 'a key that is too long',
  MISSING_CHAR: 'a quotation mark, a comma, a colon or a bracket is missing',
  MULTILINE_IMPLICIT_KEY: 'a key that goes over two lines; a colon and a blank may be missing behind it',
  MULTIPLE_DOCS: 'a second document (---)',
  TAB_AS_INDENT: 'a tab where blanks are to indent',
  TAG_RESOLVE_FAILED: 'a value that begins with !; put it in quotes',
  UNEXPECTED_TOKEN: 'something that may not stand there',
});
