import { NexusError } from '#core';

const maxPathBytes = 4_096;
const maxNameBytes = 255;
const maxDepth = 32;

/** Names that writes use for their unfinished files. Not listed, not searched, not to be touched by a tool. */
export const unfinishedPrefix = '.nexus-unfinished-';

/**
 * A path of a workspace as its names, outermost first; the workspace itself is the empty list.
 *
 * Only relative paths with `/` are paths of a workspace: whatever is absolute, climbs with `..` or hides a NUL or a
 * control character is refused with `path_not_allowed`, also where it would end inside. So is `./a`, `a//b` or `a/`: a
 * policy that speaks of a path must not be got round by another way to write it.
 */
export function parseWorkspacePath(path: string): readonly string[] {
  const refuse = (why: string) =>
    new NexusError(
      'path_not_allowed',
      `${JSON.stringify(path.slice(0, 200))} ${why}; give a path relative to the workspace, such as data/sales.csv`,
    );
  if (Buffer.byteLength(path) > maxPathBytes) throw refuse(`is longer than ${maxPathBytes} bytes`);
  if (hasControlCharacter(path)) throw refuse('contains a control character');
  if (!path.isWellFormed()) throw refuse('is not well-formed text');
  if (path.includes('\\')) throw refuse('contains a backslash');
  if (path.startsWith('/')) throw refuse('is an absolute path');
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) throw refuse('contains ".."');
  const plain = names.join('/');
  if (path !== plain && names.length > 0) throw refuse(`is not in its plain form ${JSON.stringify(plain.slice(0, 200))}`);
  if (names.length > maxDepth) throw refuse(`is deeper than ${maxDepth} folders`);
  if (names.some((name) => Buffer.byteLength(name) > maxNameBytes)) throw refuse(`contains a name longer than ${maxNameBytes} bytes`);
  if (names.some((name) => name.startsWith(unfinishedPrefix))) throw refuse('is a reserved name');
  return names;
}

function hasControlCharacter(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
