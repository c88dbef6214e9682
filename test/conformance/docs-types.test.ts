import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
/** What the pages leave to the reader. */
const left = ['accounts', 'editor', 'openTicket'].map((name) => `declare const ${name}: any;`).join('\n');

/** The blocks of TypeScript that are whole: they import what they use. */
function blocksOf(page: string): string[] {
  const blocks = [...readFileSync(join(root, page), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, text = '']) => text);
  return blocks.filter((text) => text.startsWith('import '));
}

it('compiles what the pages show in TypeScript, as strictly as a reader may [verifies embed.library]', async () => {
  const pages = ['README.md', ...readdirSync(join(root, 'docs/tools')).map((name) => `docs/tools/${name}`)];
  mkdirSync(join(root, '.nexus'), { recursive: true });
  const folder = mkdtempSync(join(root, '.nexus', 'docs-types-')); // within the checkout, where the packages are found
  try {
    const files = pages.flatMap((page) =>
      blocksOf(page).map((text, index) => {
        const file = join(folder, `${page.replaceAll(/\W/g, '-')}-${index}.ts`);
        writeFileSync(file, `${text}\n${left}\nexport {};\n`);
        return file;
      }),
    );
    expect(files.length).toBeGreaterThanOrEqual(4);
    const compilerOptions = { noEmit: true, noUnusedLocals: false, customConditions: ['nexus-source'], allowImportingTsExtensions: true };
    files.push(join(root, 'packages/server/src/tools/sandbox/webassembly.d.ts'));
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions, files }));
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    await promisify(execFile)(process.execPath, [tsc, '-p', folder]).catch((error: { stdout?: string }) =>
      expect.fail(error.stdout ?? String(error)),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 120_000);
