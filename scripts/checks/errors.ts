/**
 * Holds the error table against the code: every code is raised somewhere, every key of `details` that the table documents
 * occurs where the code is raised, and details that are written beside a code are documented for it.
 *
 *   node --conditions=nexus-source scripts/checks/errors.ts
 */
import { parseSync } from 'oxc-parser';
import { BudgetRefusal, type ErrorEntry, errorTable } from '../../packages/protocol/src/index.ts';
import { type Finding, lineOf, listFiles, readText, report } from './files.ts';

const tableFile = 'packages/protocol/src/error-table.ts';
const source = /^packages\/(server|sdk)\/src\/.*\.ts$/;
const notProduct = /(\.test|\.testkit|\.conformance)\.ts$|\/testing\/|\/apps\/demo\/|\/llm\/sim\//;
const table: Readonly<Record<string, ErrorEntry>> = errorTable;

interface Node {
  readonly type: string;
  readonly start: number;
  readonly [key: string]: unknown;
}

/** What one file says of errors. */
interface Raised {
  readonly codes: Set<string>;
  /** Names of all properties in object literals. */
  readonly keys: Set<string>;
  readonly findings: Finding[];
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

function childrenOf(node: Node): Node[] {
  return Object.values(node).flatMap((value) => (Array.isArray(value) ? value.filter(isNode) : isNode(value) ? [value] : []));
}

/** The code that a literal names, through `as const` and parentheses. */
function codeOf(node: unknown): string | undefined {
  if (!isNode(node)) return undefined;
  if (node.type === 'TSAsExpression' || node.type === 'ParenthesizedExpression') return codeOf(node.expression);
  return node.type === 'Literal' && typeof node.value === 'string' && table[node.value] !== undefined ? node.value : undefined;
}

function nameOf(key: unknown): string {
  if (!isNode(key)) return '';
  return typeof key.name === 'string' ? key.name : typeof key.value === 'string' ? key.value : '';
}

function propertiesOf(object: unknown): Map<string, Node> {
  const list = isNode(object) && object.type === 'ObjectExpression' && Array.isArray(object.properties) ? object.properties : [];
  return new Map(
    list.filter(isNode).flatMap((item) => (item.type === 'Property' && isNode(item.value) ? [[nameOf(item.key), item.value]] : [])),
  );
}

/** A code as a call's first argument, as a result, or as one side of a choice is raised; one that is compared is not. */
function raisedBy(node: Node): (string | undefined)[] {
  switch (node.type) {
    case 'NewExpression':
    case 'CallExpression':
      return [codeOf(Array.isArray(node.arguments) ? node.arguments[0] : undefined)];
    case 'ReturnStatement':
      return [codeOf(node.argument)];
    case 'ConditionalExpression':
      return [codeOf(node.consequent), codeOf(node.alternate)];
    case 'ObjectExpression':
      return [codeOf(propertiesOf(node).get('code'))];
    default:
      return [];
  }
}

/** The details that are written beside a code: of `new NexusError(code, message, { details })` and of `{ code, details }`. */
function detailsBy(node: Node): { readonly code: string; readonly details: Node } | undefined {
  const options = node.type === 'NewExpression' && Array.isArray(node.arguments) ? propertiesOf(node.arguments[2]) : propertiesOf(node);
  const [code] = node.type === 'NewExpression' || node.type === 'ObjectExpression' ? raisedBy(node) : [];
  const details = options.get('details');
  return code === undefined || details === undefined ? undefined : { code, details };
}

function readFile(file: string): Raised {
  const text = readText(process.cwd(), file);
  const raised: Raised = { codes: new Set(), keys: new Set(), findings: [] };
  const visit = (node: Node): void => {
    for (const code of raisedBy(node)) if (code !== undefined) raised.codes.add(code);
    for (const key of propertiesOf(node).keys()) raised.keys.add(key);
    if (node.type === 'SpreadElement' && /refusal/i.test(text.slice(node.start, Number(node.end)))) {
      for (const key of Object.keys(BudgetRefusal.shape)) raised.keys.add(key);
    }
    const beside = detailsBy(node);
    for (const key of propertiesOf(beside?.details).keys()) {
      if (beside === undefined || table[beside.code]?.details?.[key] !== undefined) continue;
      raised.findings.push({ rule: 'undocumented-detail', file, line: lineOf(text, node.start), message: `${beside.code}: ${key}` });
    }
    for (const child of childrenOf(node)) visit(child);
  };
  const { program } = parseSync(file, text);
  visit(program as unknown as Node); // a node like every other
  return raised;
}

const files = listFiles(process.cwd()).filter((file) => source.test(file) && !notProduct.test(file));
const all = files.map(readFile);
const findings = all.flatMap((raised) => raised.findings);
for (const [code, { details = {} }] of Object.entries(table)) {
  const places = all.filter(({ codes }) => codes.has(code));
  if (places.length === 0) findings.push({ rule: 'never-raised', file: tableFile, message: code });
  for (const key of Object.keys(details)) {
    if (places.some(({ keys }) => keys.has(key))) continue;
    findings.push({ rule: 'unfounded-detail', file: tableFile, message: `${code}: nothing that raises it writes ${key}` });
  }
}
report('errors', `${Object.keys(table).length} codes in ${files.length} files`, findings);
