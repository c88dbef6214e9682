/**
 * How long a function and a class may be.
 *
 *   node scripts/checks/shape.ts
 *
 * A function is counted whole, with the functions inside it: a closure that holds a class, or an object of methods, is a function.
 * In tests a callback of `describe`, and a function that only registers tests, is a list and may be as long as it wants; each test
 * in it is a function like any other. How long a file may be is in `text.ts`.
 */
import { type Finding, isTestCode, report } from './files.ts';
import { childOf, childrenOf, nameOf, readSources, type SourceFile, type SyntaxNode, walk } from './syntax.ts';

const maxFunctionLines = 150;
const maxClassLines = 300;

const functions = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);
const classes = new Set(['ClassDeclaration', 'ClassExpression']);
const registrars = new Set(['describe', 'suite', 'it', 'test']);

function checkFile({ file, program, lineAt }: SourceFile): Finding[] {
  const findings: Finding[] = [];
  walk(program, (node, around) => {
    const isClass = classes.has(node.type);
    if (!isClass && !functions.has(node.type)) return;
    const start = lineAt(node.start);
    const lines = lineAt(node.end) - start + 1;
    const most = isClass ? maxClassLines : maxFunctionLines;
    if (lines <= most || (isTestCode(file) && isListOfTests(node, around))) return;
    const [rule, what] = isClass ? ['class-length', 'class'] : ['function-length', 'function'];
    const message = `${what} ${nameAround(node, around)} has ${lines} lines, ${most} is the most: find the second idea in it`;
    findings.push({ rule, file, line: start, message });
  });
  return findings;
}

/** A callback of `describe`, or a function whose own statements register tests: what a conformance suite is. */
function isListOfTests(node: SyntaxNode, around: readonly SyntaxNode[]): boolean {
  const parent = around.at(-1);
  if (parent?.type === 'CallExpression' && callsA(parent, new Set(['describe', 'suite']))) return true;
  return childrenOf(childOf(node, 'body'), 'body').some((statement) => {
    const expression = childOf(statement, 'expression');
    return expression?.type === 'CallExpression' && callsA(expression, registrars);
  });
}

/** Is it a call of one of these names, also as `describe.each(…)(…)` or `it.skipIf(…)(…)`? */
function callsA(call: SyntaxNode, names: ReadonlySet<string>): boolean {
  let callee = childOf(call, 'callee');
  while (callee?.type === 'MemberExpression' || callee?.type === 'CallExpression') {
    callee = childOf(callee, callee.type === 'CallExpression' ? 'callee' : 'object');
  }
  return names.has(nameOf(callee) ?? '');
}

/** What a reader would call it: its own name, or that of what it is the value of. */
function nameAround(node: SyntaxNode, around: readonly SyntaxNode[]): string {
  const own = nameOf(childOf(node, 'id'));
  if (own !== undefined) return own;
  for (const outer of around.toReversed()) {
    const name = nameOf(childOf(outer, 'id') ?? childOf(outer, 'key') ?? childOf(outer, 'left'));
    if (name !== undefined) return outer === around.at(-1) ? name : `in ${name}`;
  }
  return 'without a name';
}

const sources = readSources(process.cwd(), () => true);
report('shape', `${sources.length} files`, sources.flatMap(checkFile));
