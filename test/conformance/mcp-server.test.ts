import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { exceptions } from './mcp-exceptions.ts';
import { startFixtureServer } from './mcp-fixture-server.ts';

const require = createRequire(import.meta.url);
const suite = join(dirname(require.resolve('@modelcontextprotocol/conformance/package.json')), 'dist/index.js');
let fixture: Awaited<ReturnType<typeof startFixtureServer>>;
beforeAll(async () => {
  fixture = await startFixtureServer();
});
afterAll(() => fixture.close());

interface Outcome {
  readonly code: number;
  readonly passed: readonly string[];
  readonly failed: readonly string[];
  readonly text: string;
}

function runSuite(revision: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const args = [suite, 'server', '--url', fixture.url, '--requirements', revision];
    execFile(process.execPath, args, { timeout: 90_000 }, (error, stdout, stderr) => {
      const text = stdout + stderr;
      const named = (mark: string) => [...text.matchAll(new RegExp(`^${mark} ([\\w-]+): \\d+ passed`, 'gm'))].map(([, name = '']) => name);
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), passed: named('✓'), failed: named('✗'), text });
    });
  });
}

it.each(Object.entries(exceptions))(
  'passes everything that revision %s requires of a server [verifies mcp.server.conforms]',
  async (revision, excepted) => {
    const { code, passed, failed, text } = await runSuite(revision);
    expect(code, text).toBe(0);
    expect(passed.length).toBeGreaterThan(30);
    expect(new Set(failed)).toEqual(new Set(Object.keys(excepted)));
  },
  100_000,
);
