import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { listFiles } from '../checks/files.ts';

/** A copy of the work tree that may be changed and put back. */
export interface TreeCopy {
  readonly folder: string;
  /** Writes a file: its whole content, or what is done to what it holds. Throws when that changes nothing. */
  write(file: string, content: string | ((before: string) => string)): void;
  /** The content of a file; empty when there is none. */
  read(file: string): string;
  /** Undoes all writes since the last time. */
  restore(): void;
  /** Runs a script with this Node from the root of the copy. One that takes longer than it may is killed, and has no status. */
  run(command: readonly string[], options?: { readonly timeoutMs: number }): { readonly status: number | null; readonly output: string };
  remove(): void;
}

/** The files of the work tree, in a git repository of their own, with the installed packages linked and our own packages from the copy. */
export function copyTree(root: string): TreeCopy {
  const folder = mkdtempSync(join(tmpdir(), 'nexus-gates-'));
  const undo: (() => void)[] = [];
  for (const file of listFiles(root)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(join(root, file), join(folder, file));
  }
  linkModules(join(root, 'node_modules'), join(folder, 'node_modules'), folder);
  for (const name of readdirSync(join(root, 'packages'))) {
    const nested = join(root, 'packages', name, 'node_modules');
    if (existsSync(nested)) linkModules(nested, join(folder, 'packages', name, 'node_modules'), folder);
  }
  execFileSync('git', ['init', '--quiet'], { cwd: folder });
  return {
    folder,
    write(file, content) {
      const path = join(folder, file);
      const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
      const made = before === undefined ? mkdirSync(dirname(path), { recursive: true }) : undefined;
      undo.push(() => (before === undefined ? rmSync(made ?? path, { recursive: true, force: true }) : writeFileSync(path, before)));
      const after = typeof content === 'string' ? content : content(before ?? '');
      if (after === before) throw new Error(`nothing changes in ${file}`);
      writeFileSync(path, after);
    },
    read: (file) => (existsSync(join(folder, file)) ? readFileSync(join(folder, file), 'utf8') : ''),
    restore() {
      for (const step of undo.splice(0).reverse()) step();
    },
    run(command, { timeoutMs } = { timeoutMs: 0 }) {
      const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' };
      const options = { cwd: folder, encoding: 'utf8', env, timeout: timeoutMs, killSignal: 'SIGKILL' } as const;
      const { status, stdout, stderr, error } = spawnSync(process.execPath, [...command], options);
      if (error !== undefined && !('code' in error && error.code === 'ETIMEDOUT')) throw error;
      return { status, output: stdout + stderr };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function linkModules(from: string, to: string, copy: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from)) {
    if (entry.startsWith('.') || entry === '@nexus-agent' || entry === 'nexus-agent') continue;
    symlinkSync(join(from, entry), join(to, entry));
  }
  if (!existsSync(join(from, '@nexus-agent'))) return;
  mkdirSync(join(to, '@nexus-agent'));
  for (const name of readdirSync(join(from, '@nexus-agent'))) symlinkSync(join(copy, 'packages', name), join(to, '@nexus-agent', name));
  symlinkSync(join(copy, 'packages/server'), join(to, 'nexus-agent'));
}
