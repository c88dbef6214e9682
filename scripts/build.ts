/**
 * Builds what is published: `dist/` of each package, in the order in which they depend on each other. The libraries keep
 * their files and get their types; the server becomes few files, because a process that starts looks up and loads every
 * file by itself, with the types of what it gives to programs.
 *
 *   npm run build
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join } from 'node:path';
import { rolldown } from 'rolldown';

const root = join(import.meta.dirname, '..');
const libraries = ['protocol', 'sdk'];
const server = join(root, 'packages/server');
/** What programs import, and what the launcher, the sandbox, the tokenizer, the simulation and the demo start by name; each is found beside whatever starts it, so all lie in one folder. */
const entries = {
  index: join(server, 'src/embed/index.ts'),
  main: join(server, 'src/cli/main.ts'),
  worker: join(server, 'src/tools/sandbox/worker.ts'),
  'wasm-worker': join(server, 'src/tools/sandbox/wasm/wasm-worker.ts'),
  'tokenizer-worker': join(server, 'src/llm/providers/tokenizer-worker.ts'),
  'seed-thread': join(server, 'src/apps/simulation/seed-thread.ts'),
  'worker-process': join(server, 'src/apps/demo/worker-process.ts'),
};

// Safe: the repository's own manifest.
const manifest = JSON.parse(readFileSync(join(server, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };
const installed = new Set(Object.keys(manifest.dependencies));

for (const name of libraries) await timed(name, () => compile(join(root, 'packages', name)));
await timed('server', bundleServer);

async function timed(name: string, build: () => Promise<void> | void): Promise<void> {
  const started = performance.now();
  try {
    await build();
  } catch (error) {
    process.stderr.write(`build: packages/${name}: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
  process.stdout.write(`build: packages/${name}/dist in ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
}

/** `@scope/name` of `@scope/name/part`; a relative or `#` import is no package. */
function packageOf(id: string): string {
  return id.split('/', id.startsWith('@') ? 2 : 1).join('/');
}

/** The types that the entry for programs reaches; those of the rest of the server are nobody's. */
function emitTypes(): void {
  const types = join(server, 'dist/types');
  const emitted = join(server, 'dist/.types');
  const options = ['--noEmit', 'false', '--emitDeclarationOnly', '--declaration', '--stripInternal', '--outDir', emitted];
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', join(server, 'tsconfig.build.json'), ...options], { stdio: 'inherit' });
  if (status !== 0) throw new Error('its types cannot be written');
  const from = join(emitted, 'server/src');
  const reached = new Set<string>();
  const reach = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    for (const [, specifier = ''] of readFileSync(join(from, file), 'utf8').matchAll(/(?:from |import\()['"]([.#][^'"]+)['"]/g)) {
      const target = specifier.startsWith('#') ? join(specifier.slice(1), 'index.ts') : join(dirname(file), specifier);
      reach(target.replace(/\.ts$/, '.d.ts'));
    }
  };
  reach('embed/index.d.ts');
  for (const file of reached) {
    mkdirSync(join(types, dirname(file)), { recursive: true });
    cpSync(join(from, file), join(types, file));
  }
  rmSync(emitted, { recursive: true });
}

function compile(folder: string): void {
  rmSync(join(folder, 'dist'), { recursive: true, force: true });
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', join(folder, 'tsconfig.build.json')], { stdio: 'inherit' });
  if (status !== 0) throw new Error('it does not compile for publishing');
}

/** A process keeps a text with a character beyond Latin-1 at two bytes for each: in a file of half a megabyte they are written as escapes. */
function oneByte(code: string): string {
  const raw = /\\[^\0-\xff]|\braw`[^`]*[^\0-\xff]/u.exec(code);
  if (raw !== null) throw new Error(`${JSON.stringify(raw[0])} cannot be escaped`);
  return code.replace(/[^\0-\xff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

async function bundleServer(): Promise<void> {
  compile(server);
  const bundle = await rolldown({
    input: entries,
    platform: 'node',
    // Our own packages go in; what npm installs stays where npm puts it, with its own licence and its own updates.
    external: (id) => isBuiltin(id) || (installed.has(packageOf(id)) && !id.startsWith('@nexus-agent/')),
    resolve: { conditionNames: ['nexus-source', 'node', 'import'] },
    onLog(level, log) {
      if (level !== 'warn') return;
      throw new Error(log.message);
    },
  });
  const { output } = await bundle.write({
    dir: join(server, 'dist'),
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
    // A process keeps the text of what it loads: without comments and indents it is half as long. Names stay, for stack traces.
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
  });
  await bundle.close();
  for (const file of output) if (file.type === 'chunk') writeFileSync(join(server, 'dist', file.fileName), oneByte(file.code));
  const foreign = output.flatMap((file) => (file.type === 'chunk' ? file.moduleIds : [])).find((id) => id.includes('/node_modules/'));
  if (foreign !== undefined)
    throw new Error(`${foreign} would be published inside it: declare its package in packages/server/package.json`);
  emitTypes();
  cpSync(join(root, 'packages/protocol/proto'), join(server, 'dist/proto'), { recursive: true });
  // The demo of the published package works on the examples.
  cpSync(join(root, 'examples'), join(server, 'dist/examples'), { recursive: true });
}
