/**
 * No name from outside selects what an object merely inherits: `{ gzip }['constructor']` is a function, and `'toString' in {}` is true.
 *
 *   node scripts/checks/lookups.ts
 *
 * An object that is written down as a literal and read or written by a name that only the run knows is a `dictionary({ … })`, which
 * inherits nothing; whether an object has a name that only the run knows is asked of `Object.hasOwn`. Reads syntax: it sees literals that
 * stand where they are read, those of a `const` of the same file, and those that another file exports. A file that asks `Object.hasOwn` of
 * such an object is taken to know what it does.
 */
import { type Finding, isTestCode, report } from './files.ts';
import { childOf, childrenOf, nameOf, readSources, type SourceFile, type SyntaxNode, textOf, walk } from './syntax.ts';

const wrappers = new Set(['ParenthesizedExpression', 'TSAsExpression', 'TSSatisfiesExpression', 'TSNonNullExpression', 'ChainExpression']);

/** Names that hold a number, or one of the few units that budgets count. */
const closed = /^(index|at|position|offset|place|unit|[a-z])$/;

function bare(node: SyntaxNode | undefined): SyntaxNode | undefined {
  let inner = node;
  while (inner !== undefined && wrappers.has(inner.type)) inner = childOf(inner, 'expression');
  if (inner?.type === 'CallExpression') {
    const callee = childOf(inner, 'callee');
    const path = `${nameOf(childOf(callee, 'object')) ?? ''}.${nameOf(childOf(callee, 'property')) ?? ''}`;
    if (path === 'Object.freeze') return bare(childrenOf(inner, 'arguments')[0]);
  }
  return inner;
}

/** An object that inherits, as far as its text tells. */
function inherits(node: SyntaxNode | undefined): boolean {
  const value = bare(node);
  if (value?.type === 'ObjectExpression') return true;
  if (value?.type !== 'CallExpression') return false;
  const callee = childOf(value, 'callee');
  return nameOf(childOf(callee, 'object')) === 'Object' && nameOf(childOf(callee, 'property')) === 'fromEntries';
}

/** Names of the file's constants that are such objects; those of other files are looked up in `exported`. */
function literalsOf({ program }: SourceFile, exported: ReadonlySet<string>): ReadonlySet<string> {
  const names = new Set<string>();
  walk(program, (node) => {
    const name = nameOf(childOf(node, node.type === 'ImportSpecifier' ? 'imported' : 'id'));
    if (name === undefined) return;
    if (node.type === 'VariableDeclarator' && inherits(childOf(node, 'init'))) names.add(name);
    if (node.type === 'ImportSpecifier' && exported.has(name)) names.add(nameOf(childOf(node, 'local')) ?? name);
  });
  walk(program, (node) => {
    if (node.type !== 'CallExpression' || nameOf(childOf(childOf(node, 'callee'), 'property')) !== 'hasOwn') return;
    names.delete(nameOf(childrenOf(node, 'arguments')[0]) ?? '');
  });
  return names;
}

function exportsOf({ program }: SourceFile): string[] {
  return childrenOf(program, 'body').flatMap((statement) => {
    const declaration = statement.type === 'ExportNamedDeclaration' ? childOf(statement, 'declaration') : undefined;
    const declared = childrenOf(declaration, 'declarations').filter((entry) => inherits(childOf(entry, 'init')));
    return declared.flatMap((entry) => nameOf(childOf(entry, 'id')) ?? []);
  });
}

/** Whether only the run knows which member is meant. */
function isOpen(key: SyntaxNode | undefined): boolean {
  const value = bare(key);
  if (value === undefined || value.type === 'Literal' || textOf(value) !== undefined) return false;
  if (['BinaryExpression', 'UpdateExpression'].includes(value.type) && value.operator !== '+') return false;
  if (nameOf(childOf(value, 'object')) === 'Symbol') return false;
  const name = nameOf(value) ?? nameOf(childOf(value, 'property'));
  return name === undefined || !closed.test(name);
}

function checkFile(source: SourceFile, exported: ReadonlySet<string>): Finding[] {
  const { file, program, lineAt } = source;
  const literals = literalsOf(source, exported);
  const findings: Finding[] = [];
  walk(program, (node) => {
    const line = lineAt(node.start);
    if (node.type === 'BinaryExpression' && node.operator === 'in') {
      const left = childOf(node, 'left');
      if (left?.type !== 'PrivateIdentifier' && isOpen(left))
        findings.push({ rule: 'inherited-name', file, line, message: 'ask Object.hasOwn: `in` also finds what every object inherits' });
    }
    if (node.type !== 'MemberExpression' || node.computed !== true || !isOpen(childOf(node, 'property'))) return;
    const object = bare(childOf(node, 'object'));
    const name = nameOf(object);
    if (name === undefined ? inherits(object) : literals.has(name))
      findings.push({
        rule: 'inherited-name',
        file,
        line,
        message: `${name ?? '{ … }'} is read by a name of the run: make it a dictionary()`,
      });
  });
  return findings;
}

const sources = readSources(process.cwd(), (file) => /^packages\/\w+\/src\//.test(file) && !isTestCode(file));
const exported = new Set(sources.flatMap(exportsOf));
report(
  'lookups',
  `${sources.length} files`,
  sources.flatMap((source) => checkFile(source, exported)),
);
