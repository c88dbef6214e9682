import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { NexusError } from '#core';
import type { ToolDescriptor, ToolResult } from '#tools/contract';
import type { Sandbox } from '#tools/sandbox';
import type { OpenFile, Workspaces } from '#tools/workspace';

/** What tools need that hand files to a program in the sandbox. */
export interface InSandbox {
  readonly workspaces: Workspaces;
  readonly sandbox: Sandbox;
}

/** What all file tools are. */
export const fileTool = {
  source: 'built-in',
  tier: 'host',
  sharesFolder: true,
  timeoutMs: 30_000,
} as const satisfies Partial<ToolDescriptor> & {
  readonly sharesFolder: true;
};

export const pathProperty = { type: 'string', description: 'Path relative to the workspace, such as data/sales.csv' };
export const folderProperty = { type: 'string', description: 'Folder relative to the workspace; the whole workspace when left out' };
export const patternProperty = {
  type: 'string',
  minLength: 1,
  maxLength: 200,
  description: 'Only files that fit: *.csv by name anywhere, src/**/*.{ts,js} by path',
};

export function ok(output: string): ToolResult {
  return { type: 'ok', output };
}

/** A count with its noun, which gets an s. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Up to `length` bytes from `position`; fewer at the end of the file. */
export async function readAt({ handle }: OpenFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await handle.read(bytes, read, length - read, position + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return bytes.subarray(0, read);
}

/** All bytes of a file. Throws `payload_too_large` when there are more than `maxBytes`, with what to do `instead`. */
export async function readWhole(
  workspaces: Workspaces,
  root: string,
  path: string,
  maxBytes: number,
  instead = 'use code_js, or a smaller file',
): Promise<Buffer> {
  return workspaces.withFile(root, path, async (file) => {
    if (file.sizeBytes > maxBytes)
      throw new NexusError(
        'payload_too_large',
        `${JSON.stringify(path)} has ${file.sizeBytes} bytes, and this tool takes files of at most ${maxBytes}; ${instead}`,
      );
    return readAt(file, 0, file.sizeBytes);
  });
}

/** The text of a file as it is, a byte order mark included. Throws `tool_input_invalid` when it is no UTF-8 text. */
export function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new NexusError('tool_input_invalid', `${JSON.stringify(path)} is no UTF-8 text`, { cause: error });
  }
}

const libraries = new Map<string, string>();

/** A file of a package that makes a global of it: so it runs in an engine that knows no modules. */
export function libraryText(name: string, file: string): string {
  const known = libraries.get(name);
  if (known !== undefined) return known;
  const text = readFileSync(join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), file), 'utf8');
  libraries.set(name, text);
  return text;
}
