/** The syntax trees that several checks read, walked with what lies around each node. */
import { parseSync, visitorKeys } from 'oxc-parser';
import { listFiles, readText } from './files.ts';

/** A node of the tree; what else it holds depends on its type. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

export interface SourceFile {
  readonly file: string;
  readonly program: SyntaxNode;
  /** The line of an offset in the text, from 1. */
  lineAt(offset: number): number;
}

const isCode = (file: string) => /\.(ts|mts|mjs|js)$/.test(file) && !file.endsWith('.d.ts');

/** The code among the repository's files that the check is about, parsed. */
export function readSources(root: string, isWanted: (file: string) => boolean): SourceFile[] {
  return listFiles(root)
    .filter((file) => isCode(file) && isWanted(file))
    .map((file) => parseSource(file, readText(root, file)));
}

function parseSource(file: string, text: string): SourceFile {
  const ends: number[] = [];
  for (let index = text.indexOf('\n'); index !== -1; index = text.indexOf('\n', index + 1)) ends.push(index);
  const lineAt = (offset: number): number => {
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((ends[middle] ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };
  // Safe: a program is a node, and nodes are only read by keys whose values are checked.
  const program = parseSync(file, text).program as unknown as SyntaxNode;
  return { file, program, lineAt };
}

/** Visits each node before its children. `around` holds what the node lies in, the nearest last; it is valid during the visit only. */
export function walk(root: SyntaxNode, visit: (node: SyntaxNode, around: readonly SyntaxNode[]) => void): void {
  const around: SyntaxNode[] = [];
  const enter = (node: SyntaxNode): void => {
    visit(node, around);
    around.push(node);
    for (const key of visitorKeys[node.type] ?? []) {
      const child = node[key];
      if (Array.isArray(child)) for (const item of child) enterIfNode(item);
      else enterIfNode(child);
    }
    around.pop();
  };
  const enterIfNode = (value: unknown): void => {
    if (isNode(value)) enter(value);
  };
  enter(root);
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

/** The child under the key, when there is one. */
export function childOf(node: SyntaxNode | undefined, key: string): SyntaxNode | undefined {
  const child = node?.[key];
  return isNode(child) ? child : undefined;
}

export function childrenOf(node: SyntaxNode | undefined, key: string): SyntaxNode[] {
  const children = node?.[key];
  return Array.isArray(children) ? children.filter(isNode) : [];
}

/** The name of an identifier, also as a key. */
export function nameOf(node: SyntaxNode | undefined): string | undefined {
  if (node?.type === 'Identifier' || node?.type === 'PrivateIdentifier') return String(node.name);
  return undefined;
}

/** The text of a string literal, or of a template without anything in it. */
export function textOf(node: SyntaxNode | undefined): string | undefined {
  if (node?.type === 'Literal' && typeof node.value === 'string') return node.value;
  if (node?.type !== 'TemplateLiteral') return undefined;
  const [only, ...more] = childrenOf(node, 'quasis');
  const value: unknown = more.length === 0 ? only?.value : undefined;
  return typeof value === 'object' && value !== null && 'cooked' in value && typeof value.cooked === 'string' ? value.cooked : undefined;
}
