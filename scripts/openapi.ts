import { readFile, writeFile } from 'node:fs/promises';
import { createOpenApiDocument } from '../packages/server/src/api/index.ts';

/**
 * Writes docs/openapi.json from the routes and schemas. With `--check` it only compares, and fails when the file is out
 * of date.
 */
const path = new URL('../docs/openapi.json', import.meta.url);
const manifest: unknown = JSON.parse(await readFile(new URL('../packages/server/package.json', import.meta.url), 'utf8'));
const version = typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : '0.0.0';
const text = `${JSON.stringify(createOpenApiDocument(version), null, 2)}\n`;

if (process.argv.includes('--check')) {
  const current = await readFile(path, 'utf8').catch(() => '');
  if (current !== text) {
    process.stderr.write('docs/openapi.json is out of date; run: npm run fix:openapi\n');
    process.exitCode = 1;
  }
} else {
  await writeFile(path, text);
}
