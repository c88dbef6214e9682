import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { clientExceptions } from './mcp-exceptions.ts';

const require = createRequire(import.meta.url);
const suite = join(dirname(require.resolve('@modelcontextprotocol/conformance/package.json')), 'dist/index.js');
const program = fileURLToPath(new URL('./mcp-client-program.ts', import.meta.url));
/** All scenarios run at once, each with a process. */
const [scenarioMs, wholeMs] = [120_000, 280_000];

interface Outcome {
  readonly passed: readonly string[];
  readonly failed: readonly string[];
  readonly text: string;
}

function runSuite(revision: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const command = `${process.execPath} --conditions=nexus-source ${program}`;
    const args = [suite, 'client', '--command', command, '--requirements', revision, '--timeout', String(scenarioMs)];
    execFile(process.execPath, args, { timeout: wholeMs, maxBuffer: 64 * 1024 * 1024 }, (_error, stdout, stderr) => {
      const text = stdout + stderr;
      const named = (mark: string) => [...text.matchAll(new RegExp(`^${mark} ([\\w/-]+): \\d+ passed`, 'gm'))].map(([, name = '']) => name);
      resolve({ passed: named('✓'), failed: named('✗'), text });
    });
  });
}

it.each(Object.entries(clientExceptions))(
  'passes everything that revision %s requires of a client, but for what is named [verifies mcp.client.conforms]',
  async (revision, excepted) => {
    const { passed, failed, text } = await runSuite(revision);
    expect(new Set(failed), text.slice(-20_000)).toEqual(new Set(Object.keys(excepted)));
    expect(passed.length).toBeGreaterThan(18);
  },
  wholeMs + 10_000,
);
