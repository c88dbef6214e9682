/**
 * One name means one thing in the server's source.
 *
 *   node scripts/checks/names.ts
 *
 * - `exported-twice`: two files export a function, class, interface or type of one name. A re-export is the same thing, not a second.
 * - `hides-export`: a file has a function or class of its own that is called as what another file of its module exports.
 * - `local-thrice`: three or more files have a function of one name at their top, none of which is exported: write it once.
 */
import { type Finding, isTestCode, report } from './files.ts';
import { childOf, childrenOf, nameOf, readSources, type SourceFile, type SyntaxNode } from './syntax.ts';

const source = 'packages/server/src/';

/** Names that the language of the field gives to different things, each with why. */
const fieldTerms: Readonly<Record<string, string>> = {};

type Kind = 'function' | 'class' | 'interface' | 'type' | 'value';

interface Definition {
  readonly name: string;
  readonly kind: Kind;
  readonly exported: boolean;
  readonly file: string;
  readonly line: number;
}

/** What a file defines at its top. A schema and the type inferred from it share a name and are one thing. */
function definitionsOf({ file, program, lineAt }: SourceFile): Definition[] {
  const found = new Map<string, Definition>();
  const exportedLater = new Set<string>();
  const add = (declaration: SyntaxNode, exported: boolean) => {
    for (const [name, kind, start] of declared(declaration)) {
      if (!found.has(name) || kind !== 'value') found.set(name, { name, kind, exported, file, line: lineAt(start) });
    }
  };
  for (const statement of childrenOf(program, 'body')) {
    const declaration = childOf(statement, 'declaration');
    if (statement.type === 'ExportDefaultDeclaration') continue;
    if (statement.type === 'ExportNamedDeclaration') {
      if (declaration !== undefined) add(declaration, true);
      if (childOf(statement, 'source') !== undefined) continue;
      for (const entry of childrenOf(statement, 'specifiers')) exportedLater.add(nameOf(childOf(entry, 'local')) ?? '');
    } else add(statement, false);
  }
  return [...found.values()].map((item) => (exportedLater.has(item.name) ? { ...item, exported: true } : item));
}

function declared(node: SyntaxNode): [name: string, kind: Kind, start: number][] {
  const kinds: Readonly<Record<string, Kind>> = {
    FunctionDeclaration: 'function',
    ClassDeclaration: 'class',
    TSInterfaceDeclaration: 'interface',
    TSTypeAliasDeclaration: 'type',
  };
  if (node.type === 'VariableDeclaration') {
    return childrenOf(node, 'declarations').flatMap((declarator) => {
      const name = nameOf(childOf(declarator, 'id'));
      const value = childOf(declarator, 'init')?.type;
      const kind = value === 'ArrowFunctionExpression' || value === 'FunctionExpression' ? 'function' : 'value';
      return name === undefined ? [] : [[name, kind, declarator.start] as [string, Kind, number]];
    });
  }
  const kind = kinds[node.type];
  const name = nameOf(childOf(node, 'id'));
  return kind === undefined || name === undefined ? [] : [[name, kind, node.start]];
}

function moduleOf(file: string): string {
  return file.slice(source.length).split('/')[0] ?? '';
}

function check(name: string, all: readonly Definition[]): Finding[] {
  if (name in fieldTerms) return [];
  const exported = all.filter((item) => item.exported && (process.env.VALUES || item.kind !== 'value'));
  const local = all.filter((item) => !item.exported && (item.kind === 'function' || item.kind === 'class'));
  const findings: Finding[] = [];
  const places = (items: readonly Definition[]) => items.map((item) => `${item.file.slice(source.length)}:${item.line}`).join(', ');
  const found = (rule: string, { file, line }: Definition, message: string) => findings.push({ rule, file, line, message });
  for (const [index, item] of exported.entries()) {
    if (index > 0) found('exported-twice', item, `${name} is also what ${places(exported.slice(0, index))} exports`);
  }
  for (const item of local) {
    const hidden = exported.filter((other) => moduleOf(other.file) === moduleOf(item.file));
    if (hidden.length > 0) found('hides-export', item, `${name} is what ${places(hidden)} exports`);
  }
  const functions = local.filter((item) => item.kind === 'function');
  const [first, second, third] = functions;
  if (first !== undefined && second !== undefined && third !== undefined) {
    found('local-thrice', first, `${name} is also a function of ${places(functions.slice(1))}`);
  }
  return findings;
}

const sources = readSources(process.cwd(), (file) => file.startsWith(source) && !isTestCode(file));
const byName = Map.groupBy(sources.flatMap(definitionsOf), ({ name }) => name);
const findings = [...byName].flatMap(([name, all]) => check(name, all)).sort((a, b) => (a.file < b.file ? -1 : 1));
report('names', `${byName.size} names in ${sources.length} files`, findings);
