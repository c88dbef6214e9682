/**
 * Loads the server's and the command line's modules once, so that Node keeps them compiled: the first start after an
 * installation is then as quick and as small as the later ones. Starts nothing.
 */
import { readdirSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

enableCompileCache();
await import('../packages/server/src/apps/index.ts');
const cli = join(import.meta.dirname, '../packages/server/src/cli');
for (const folder of [cli, join(cli, 'commands')]) {
  const modules = readdirSync(folder).filter((name) => name.endsWith('.ts') && !/\.(test|testkit)\.ts$/.test(name));
  for (const name of modules) await import(join(folder, name));
}
