/** The table in `docs/architecture.md` that says which files one touches to add something. */
import { listFiles, readText } from './files.ts';

export const page = 'docs/architecture.md';
export const heading = '## Where to add things';

export interface Row {
  /** What one adds, as the first column says it. */
  readonly what: string;
  /** What one touches: paths from the root, where `<name>` stands for a name and a final `/` for a folder with all in it. */
  readonly paths: readonly string[];
  readonly line: number;
}

const short = 'packages/server/src/';

/** Rows of the first table below the heading. A path that does not begin at the root lies in the server's source. */
export function readRows(root: string): Row[] {
  const lines = readText(root, page).split('\n');
  const start = lines.indexOf(heading);
  if (start === -1) return [];
  const length = lines.slice(start + 1).findIndex((text) => text.startsWith('## '));
  const section = length === -1 ? lines.slice(start) : lines.slice(start, start + 1 + length);
  return section.flatMap((text, index) => {
    const [, what = '', touch = ''] = text.split('|').map((cell) => cell.trim());
    const paths = [...touch.matchAll(/`([^`\s]+)`/g)].map((match) => match[1] ?? '');
    if (paths.length === 0) return [];
    return [{ what, paths: paths.map((path) => (/^(packages|test|docs)\//.test(path) ? path : short + path)), line: start + index + 1 }];
  });
}

/** The files that a path of the map means with these values, or the one that is to be made. */
export function meant(root: string, path: string, values: Readonly<Record<string, string>>): string[] {
  const there = matching(root, path, values);
  return there.length > 0 ? there : [path.replace(/<(\w+)>/g, (name, inside: string) => values[inside] ?? name)];
}

/** The files that a path of the map means, with the given values for its names; any value where none is given. */
export function matching(root: string, path: string, values: Readonly<Record<string, string>> = {}): string[] {
  const parts = path.split(/<(\w+)>/).map((part, index) => {
    if (index % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    return values[part] ?? '[^/]+';
  });
  const pattern = new RegExp(`^${parts.join('')}${path.endsWith('/') ? '' : '$'}`);
  return listFiles(root).filter((file) => pattern.test(file));
}
