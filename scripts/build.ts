/**
 * Builds what is published: `dist/` of each package, in the order in which they depend on each other.
 *
 *   npm run build
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '..');
const order = ['protocol', 'sdk', 'server'];

for (const name of order) {
  const folder = join(root, 'packages', name);
  const started = performance.now();
  rmSync(join(folder, 'dist'), { recursive: true, force: true });
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', join(folder, 'tsconfig.build.json')], { stdio: 'inherit' });
  if (status !== 0) {
    process.stderr.write(`build: packages/${name} does not compile for publishing\n`);
    process.exit(1);
  }
  const assets = copyAssets(join(folder, 'src'), join(folder, 'dist'));
  process.stdout.write(`build: packages/${name}/dist in ${((performance.now() - started) / 1000).toFixed(1)} s, ${assets} assets\n`);
}

// The demo of the published package works on the examples.
cpSync(join(root, 'examples'), join(root, 'packages/server/dist/examples'), { recursive: true });

/** Schemas, templates and other files that the source reads at run time lie beside it, and must lie beside the built code too. */
function copyAssets(from: string, to: string): number {
  if (!existsSync(from)) return 0;
  let copied = 0;
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || /\.(ts|tsx|snap|md)$/.test(entry.name)) continue;
    const target = join(to, join(entry.parentPath, entry.name).slice(from.length));
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(join(entry.parentPath, entry.name), target);
    copied += 1;
  }
  return copied;
}
