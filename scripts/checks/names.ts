/**
 * One name means one thing, and one thing is written once, in the source of the packages.
 *
 *   node scripts/checks/names.ts
 *
 * - `exported-twice`: two files of a package export one name, or one of them and the protocol. A re-export is the same thing, not a second.
 * - `hides-export`: a file has a function or class of its own that is called as what another file of its module exports.
 * - `local-thrice`: three or more files have a function of one name at their top: it is one thing, or it needs three names. A single
 *   word, such as `list` or `describe`, is a verb whose object is the file, and may stand in many.
 * - `copied`: two files hold the same body of a function, or the same type.
 */
import { type Finding, isTestCode, readText, report } from './files.ts';
import { childOf, childrenOf, nameOf, readSources, type SourceFile, type SyntaxNode } from './syntax.ts';

const source = /^packages\/[^/]+\/src\//;

/** Shorter texts are the same by chance. */
const minCopiedChars = 60;

type Kind = 'function' | 'class' | 'interface' | 'type' | 'value';

interface Definition {
  readonly name: string;
  readonly kind: Kind;
  readonly isExported: boolean;
  /** The text of a function's body or of a type, in one line. */
  readonly text: string;
  readonly file: string;
  readonly line: number;
}

const kinds: Readonly<Record<string, Kind>> = {
  FunctionDeclaration: 'function',
  ClassDeclaration: 'class',
  TSInterfaceDeclaration: 'interface',
  TSTypeAliasDeclaration: 'type',
};

/** What a file defines at its top. A schema and the type inferred from it share a name and are one thing. */
function definitionsOf({ file, program, lineAt }: SourceFile): Definition[] {
  const found = new Map<string, Definition>();
  const fileText = readText(root, file);
  const exportedLater = new Set<string>();
  const add = (declaration: SyntaxNode, isExported: boolean) => {
    for (const { name, kind, body, start } of declared(declaration)) {
      const text = body === undefined ? '' : fileText.slice(body.start, body.end).replace(/\s+/g, ' ');
      if (!found.has(name) || kind !== 'value') found.set(name, { name, kind, isExported, text, file, line: lineAt(start) });
    }
  };
  for (const statement of childrenOf(program, 'body')) {
    if (statement.type !== 'ExportNamedDeclaration') {
      add(statement, false);
      continue;
    }
    const declaration = childOf(statement, 'declaration');
    if (declaration !== undefined) add(declaration, true);
    if (childOf(statement, 'source') !== undefined) continue;
    for (const entry of childrenOf(statement, 'specifiers')) exportedLater.add(nameOf(childOf(entry, 'local')) ?? '');
  }
  return [...found.values()].map((item) => (exportedLater.has(item.name) ? { ...item, isExported: true } : item));
}

function declared(node: SyntaxNode): { name: string; kind: Kind; body: SyntaxNode | undefined; start: number }[] {
  if (node.type === 'VariableDeclaration') {
    return childrenOf(node, 'declarations').flatMap((declarator) => {
      const name = nameOf(childOf(declarator, 'id'));
      const value = childOf(declarator, 'init');
      const isFunction = value?.type === 'ArrowFunctionExpression' || value?.type === 'FunctionExpression';
      const body = isFunction ? childOf(value, 'body') : undefined;
      return name === undefined ? [] : [{ name, kind: isFunction ? ('function' as const) : ('value' as const), body, start: node.start }];
    });
  }
  const kind = kinds[node.type];
  const name = nameOf(childOf(node, 'id'));
  if (kind === undefined || name === undefined) return [];
  return [{ name, kind, body: childOf(node, kind === 'type' ? 'typeAnnotation' : 'body'), start: node.start }];
}

/** The folder with a door that a file lies in: `server/runs`, or a package as a whole. */
function moduleOf(file: string): string {
  const [, name = '', , folder = '', ...rest] = file.split('/');
  return name === 'server' && rest.length > 0 ? `${name}/${folder}` : name;
}

function places(items: readonly Definition[]): string {
  return items.map(({ file, line }) => `${file}:${line}`).join(', ');
}

function checkName(name: string, all: readonly Definition[]): Finding[] {
  const findings: Finding[] = [];
  const found = (rule: string, { file, line }: Definition, message: string) => findings.push({ rule, file, line, message });
  const exported = all.filter(({ isExported }) => isExported);
  const local = all.filter(({ isExported, kind }) => !isExported && (kind === 'function' || kind === 'class'));
  for (const one of ['server', 'sdk']) {
    const [first, ...others] = exported.filter(({ file }) => file.startsWith(`packages/${one}/`) || file.startsWith('packages/protocol/'));
    if (first !== undefined && others.length > 0) found('exported-twice', first, `${name} is also what ${places(others)} exports`);
  }
  for (const item of local) {
    const hidden = exported.filter((other) => moduleOf(other.file) === moduleOf(item.file));
    if (hidden.length > 0) found('hides-export', item, `${name} is what ${places(hidden)} exports`);
  }
  const [once, ...again] = local;
  const isOneWord = /^[a-z]+$/.test(name);
  if (once !== undefined && again.length >= 2 && !isOneWord) found('local-thrice', once, `${name} is also a function of ${places(again)}`);
  return findings;
}

function checkCopies(all: readonly Definition[]): Finding[] {
  const [first, ...others] = all;
  if (first === undefined || others.length === 0) return [];
  return [{ rule: 'copied', file: first.file, line: first.line, message: `${first.name} is written again in ${places(others)}` }];
}

const root = process.cwd();
const sources = readSources(root, (file) => source.test(file) && !isTestCode(file));
const definitions = sources.flatMap(definitionsOf);
const byName = Map.groupBy(definitions, ({ name }) => name);
const byText = Map.groupBy(
  definitions.filter(({ text }) => text.length >= minCopiedChars),
  ({ text }) => text,
);
const findings = [...[...byName].flatMap(([name, all]) => checkName(name, all)), ...[...byText.values()].flatMap(checkCopies)];
report(
  'names',
  `${byName.size} names in ${sources.length} files`,
  findings.sort((a, b) => (a.file < b.file ? -1 : 1)),
);
