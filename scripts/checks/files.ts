/** What every check needs: the files under version control, and one way of reporting findings. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Finding {
  readonly rule: string;
  readonly file: string;
  readonly line?: number;
  readonly message: string;
}

/**
 * Files that git tracks, and new ones it does not ignore; relative to `root`, sorted. Deleted ones are left out.
 * A file that cannot be read as UTF-8 text is still listed.
 */
export function listFiles(root: string): string[] {
  const output = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' });
  return [...new Set(output.split('\0'))].filter((file) => file !== '' && existsSync(join(root, file))).sort();
}

export function readText(root: string, file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

/** Code that only tests run: tests, what they share, and the doors that modules open for them alone. */
export function isTestCode(file: string): boolean {
  return /(\.test|\.testkit|\.conformance)\.ts$|\/testing\/|^test\//.test(file);
}

/** Is the file binary? Decided as git does: a NUL among its first bytes. */
export function isBinary(text: string): boolean {
  return text.slice(0, 8000).includes('\0');
}

export function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let index = text.indexOf('\n'); index !== -1 && index < offset; index = text.indexOf('\n', index + 1)) line += 1;
  return line;
}

/** Prints findings as `file:line rule message`, sets the exit code, and says what was looked at. */
export function report(check: string, looked: string, findings: readonly Finding[]): void {
  for (const finding of findings) {
    const place = finding.line === undefined ? finding.file : `${finding.file}:${finding.line}`;
    process.stdout.write(`${place}  ${finding.rule}  ${finding.message}\n`);
  }
  process.stdout.write(
    findings.length === 0 ? `${check}: ${looked}, nothing to report\n` : `${check}: ${looked}, ${findings.length} finding(s)\n`,
  );
  if (findings.length > 0) process.exitCode = 1;
}
