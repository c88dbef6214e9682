/**
 * The graph of imports between the TypeScript files of the repository, read from their syntax.
 *
 * Every way of depending on a file counts: `import`, `export … from`, `import()`, `import type`, the inline type `import('x').Y`,
 * and `new URL('./worker.ts', import.meta.url)`. Specifiers resolve as Node resolves them under the `nexus-source` condition.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { parseSync, Visitor } from 'oxc-parser';
import { lineOf, listFiles, readText } from './files.ts';

export interface Edge {
  readonly from: string;
  readonly line: number;
  readonly specifier: string;
  readonly target: Target;
}

export type Target =
  | { readonly type: 'file'; readonly file: string }
  | { readonly type: 'builtin'; readonly name: string }
  | { readonly type: 'package'; readonly name: string }
  | { readonly type: 'unresolved' };

export interface Manifest {
  readonly folder: string;
  readonly name: string;
  readonly dependencies: ReadonlySet<string>;
  readonly devDependencies: ReadonlySet<string>;
  readonly imports: ReadonlyMap<string, string>;
  readonly exports: ReadonlyMap<string, string>;
}

export interface ImportGraph {
  readonly files: readonly string[];
  readonly edges: readonly Edge[];
  readonly manifests: readonly Manifest[];
}

export function readImportGraph(root: string): ImportGraph {
  const all = listFiles(root);
  const files = all.filter((file) => /\.(ts|tsx|mts|mjs|js)$/.test(file));
  const manifests = all
    .filter((file) => /^(packages\/[^/]+\/|bench\/peers\/)?package\.json$/.test(file))
    .map((file) => readManifest(root, file))
    .sort((a, b) => b.folder.length - a.folder.length);
  const edges = files.flatMap((file) => readEdges(root, file, manifests));
  return { files, edges, manifests };
}

/** The package that a file belongs to. The root's manifest owns what no package does. */
export function manifestOf(manifests: readonly Manifest[], file: string): Manifest | undefined {
  return manifests.find((manifest) => manifest.folder === '' || file.startsWith(`${manifest.folder}/`));
}

function readManifest(root: string, file: string): Manifest {
  // Safe: the repository's own manifest; the fields read here are checked by npm at every install.
  const json = JSON.parse(readText(root, file)) as Record<string, unknown>;
  const names = (key: string) => Object.keys(asRecord(json[key]));
  const folder = dirname(file) === '.' ? '' : dirname(file);
  return {
    folder,
    name: String(json.name),
    dependencies: new Set([...names('dependencies'), ...names('peerDependencies'), ...names('optionalDependencies')]),
    devDependencies: new Set(names('devDependencies')),
    imports: sourceTargets(folder, asRecord(json.imports)),
    exports: sourceTargets(folder, asRecord(json.exports)),
  };
}

function sourceTargets(folder: string, map: Record<string, unknown>): Map<string, string> {
  const targets = new Map<string, string>();
  for (const [key, value] of Object.entries(map)) {
    const target = typeof value === 'string' ? value : asRecord(value)['nexus-source'];
    if (typeof target === 'string') targets.set(key, join(folder, target));
  }
  return targets;
}

function asRecord(value: unknown): Record<string, unknown> {
  // Safe: any non-null object may be read by key; what is read stays `unknown`.
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function readEdges(root: string, file: string, manifests: readonly Manifest[]): Edge[] {
  const text = readFileSync(join(root, file), 'utf8');
  const parsed = parseSync(file, text);
  const found: { specifier: string; offset: number }[] = [];
  const add = (specifier: unknown, offset: number) => {
    if (typeof specifier === 'string') found.push({ specifier, offset });
  };
  for (const item of parsed.module.staticImports) add(item.moduleRequest.value, item.start);
  for (const item of parsed.module.staticExports) {
    for (const entry of item.entries) add(entry.moduleRequest?.value, item.start);
  }
  new Visitor({
    ImportExpression: (node) => add(literal(node.source), node.start),
    TSImportType: (node) => add(literal(node.source), node.start),
    NewExpression: (node) => {
      const isUrl = node.callee.type === 'Identifier' && node.callee.name === 'URL';
      const specifier = literal(node.arguments[0]);
      if (isUrl && specifier !== undefined && /^\.{1,2}\/.*\.(ts|mjs|js)$/.test(specifier)) add(specifier, node.start);
    },
  }).visit(parsed.program);
  const seen = new Set<string>();
  return found
    .filter(({ specifier }) => !seen.has(specifier) && seen.add(specifier))
    .map(({ specifier, offset }) => ({
      from: file,
      line: lineOf(text, offset),
      specifier,
      target: resolve(root, file, specifier, manifests),
    }));
}

function literal(node: unknown): string | undefined {
  const record = asRecord(node);
  return record.type === 'Literal' && typeof record.value === 'string' ? record.value : undefined;
}

function resolve(root: string, from: string, specifier: string, manifests: readonly Manifest[]): Target {
  if (specifier.startsWith('node:')) return { type: 'builtin', name: specifier };
  if (specifier.startsWith('.')) return asFile(root, relative(root, join(root, dirname(from), specifier)));
  if (specifier.startsWith('#')) {
    const target = doorOf(manifestOf(manifests, from)?.imports, specifier);
    return target === undefined ? { type: 'unresolved' } : asFile(root, target);
  }
  const parts = specifier.split('/');
  const name = parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
  const own = manifests.find((manifest) => manifest.name === name && manifest.folder !== '');
  if (own === undefined) return { type: 'package', name };
  const target = own.exports.get(`.${specifier.slice(name.length)}`);
  return target === undefined ? { type: 'unresolved' } : asFile(root, target);
}

/** The file that a `#name` stands for; a key of the manifest may hold one `*`, as Node allows. */
function doorOf(imports: ReadonlyMap<string, string> | undefined, specifier: string): string | undefined {
  const exact = imports?.get(specifier);
  if (exact !== undefined) return exact;
  for (const [key, target] of imports ?? []) {
    const [before = '', after] = key.split('*');
    if (after === undefined || !specifier.startsWith(before) || !specifier.endsWith(after)) continue;
    return target.replaceAll('*', specifier.slice(before.length, specifier.length - after.length));
  }
  return undefined;
}

function asFile(root: string, file: string): Target {
  return existsSync(join(root, file)) ? { type: 'file', file } : { type: 'unresolved' };
}
