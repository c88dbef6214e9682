/**
 * The built packages work as a user would get them: laid out as npm would install them, without any source beside them, the server
 * answers its version, starts, becomes ready, answers the built client and stops cleanly; and its demo, which needs the files that
 * the server starts by name, plays to its end. A program compiles against the types of the server and of the client, and runs with both
 * inside it. Run `npm run build` first.
 *
 *   node scripts/checks/built-server.ts
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = join(import.meta.dirname, '../..');
const readyWithinMs = 15_000;
const stopWithinMs = 10_000;
const demoWithinMs = 90_000;

// Where the packages that are published lie.
const folders: Readonly<Record<string, string>> = {
  '@nexus-agent/protocol': 'protocol',
  '@nexus-agent/sdk': 'sdk',
  'nexus-agent': 'server',
};

const folder = mkdtempSync(join(tmpdir(), 'nexus-built-'));
let server: ChildProcess | undefined;
try {
  const launcher = join(install(join(folder, 'server'), ['nexus-agent']), 'nexus-agent/bin/nexus.mjs');
  const client = join(install(join(folder, 'client'), ['@nexus-agent/protocol', '@nexus-agent/sdk']), '@nexus-agent/sdk');
  const version = execFileSync(process.execPath, [launcher, '--version'], { encoding: 'utf8', cwd: folder }).trim();
  const port = await freePort();
  const started = performance.now();
  server = spawn(process.execPath, [launcher, 'serve'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, NEXUS_PORT: String(port), NEXUS_HOST: '127.0.0.1', NEXUS_DATA_DIR: join(folder, 'data') },
  });
  const ended = once(server, 'exit');
  await ready(`http://127.0.0.1:${port}/readyz`, ended);
  const readyMs = Math.round(performance.now() - started);
  const models = ask(client, `http://127.0.0.1:${port}`);
  server.kill('SIGTERM');
  const stopped = await Promise.race([ended, sleep(stopWithinMs).then(() => undefined)]);
  if (stopped === undefined) throw new Error(`it did not stop within ${stopWithinMs} ms of SIGTERM`);
  if (stopped[0] !== 0) throw new Error(`it stopped with exit code ${String(stopped[0])}, signal ${String(stopped[1])}`);
  process.stdout.write(`built-server: ${version}, ready after ${readyMs} ms, ${models} models told to the client, stopped cleanly\n`);
  process.stdout.write(`built-server: a program of one's own ${embed(join(folder, 'program'))}\n`);
  process.stdout.write(`built-server: the demo ended with "${playDemo(launcher, folder)}"\n`);
} catch (error) {
  process.stdout.write(`built-server: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  server?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}

/** What the client that is published is told by a server: how many models there are. */
function ask(client: string, url: string): number {
  // Safe: the repository's own manifest, whose `exports` name the built file.
  const { exports } = JSON.parse(readFileSync(join(client, 'package.json'), 'utf8')) as { exports: { '.': { default: string } } };
  const script = `import { createNexusClient } from ${JSON.stringify(join(client, exports['.'].default))};
    const { data } = await createNexusClient({ baseUrl: ${JSON.stringify(url)} }).models.list();
    process.stdout.write(String(data.length));`;
  const answer = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  if (!(Number(answer) > 0)) throw new Error(`the built client was told of no models: ${answer}`);
  return Number(answer);
}

/** Compiles a program against what is published, as strictly as anybody would, and runs it. */
function embed(target: string): string {
  install(target, ['nexus-agent', '@nexus-agent/protocol', '@nexus-agent/sdk']);
  writeFileSync(join(target, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(target, 'program.ts'),
    `import { type RunningNexus, startNexus, type Tool } from 'nexus-agent';
    import { collectText, createNexusClient } from '@nexus-agent/sdk';
    const tool: Tool = { name: 'weather', description: 'The weather', inputSchema: { type: 'object' }, effects: 'none', permissions: [],
      timeoutMs: 1_000, execute: async () => ({ type: 'ok', output: 'rain' }) };
    // @ts-expect-error: a configuration has types
    const faulty: Parameters<typeof startNexus>[0] = { config: { port: 'a' } };
    const nexus: RunningNexus = await startNexus({ config: { port: 0, dataDir: 'data' }, tools: [tool], log: 'silent' });
    const client = createNexusClient({ baseUrl: nexus.url });
    await client.agents.put({ name: 'guide', models: ['sim/sim-large'], tools: ['weather'], policy: { allow: ['weather'] } });
    const said = await collectText(client.chat({ agent: 'guide', input: '[[sim tools=weather()]] [[sim say="{{result}}"]]' }));
    await nexus.close();
    process.stdout.write(faulty === undefined ? '' : said);`,
  );
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const strict = [
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2024',
    '--lib',
    'es2024,esnext.disposable,dom',
    '--types',
    'node',
    '--skipLibCheck',
  ];
  const compiled = spawnSync(process.execPath, [compiler, ...strict, 'program.ts'], { cwd: target, encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(`a program does not compile against what is published:\n${compiled.stdout}`);
  const said = execFileSync(process.execPath, ['program.js'], { cwd: target, encoding: 'utf8', timeout: demoWithinMs });
  if (said !== 'rain') throw new Error(`a program with the server inside it said ${JSON.stringify(said)}`);
  return 'compiled, ran and ended';
}

/** The last line of the demo, which runs code in the sandbox, kills a second process and works on the examples. */
function playDemo(launcher: string, cwd: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [launcher, 'demo', '--no-interactive'], {
    cwd,
    encoding: 'utf8',
    timeout: demoWithinMs,
  });
  if (status !== 0) throw new Error(`its demo ended with ${status ?? 'no exit code'}:\n${stdout}${stderr}`);
  return stdout.trim().split('\n').at(-1) ?? '';
}

/** Lays `node_modules` out: of our packages only those, by their `files` field; everything else linked to what the repository has installed. */
function install(target: string, published: readonly string[]): string {
  const modules = join(target, 'node_modules');
  mkdirSync(join(modules, '@nexus-agent'), { recursive: true });
  for (const entry of readdirSync(join(root, 'node_modules'))) {
    if (!entry.startsWith('.') && entry !== '@nexus-agent' && entry !== 'nexus-agent') {
      symlinkSync(join(root, 'node_modules', entry), join(modules, entry));
    }
  }
  for (const name of published) {
    const from = join(root, 'packages', folders[name] ?? name);
    // Safe: the repository's own manifest, whose `files` the build relies on.
    const manifest = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8')) as { files: string[] };
    for (const file of ['package.json', 'README.md', 'LICENSE', ...manifest.files]) {
      if (!existsSync(join(from, file)))
        throw new Error(`${join('packages', folders[name] ?? name, file)} is to be published and is not there: run npm run build`);
      cpSync(join(from, file), join(modules, name, file), { recursive: true });
    }
    const nested = join(from, 'node_modules');
    if (existsSync(nested)) symlinkSync(nested, join(modules, name, 'node_modules'));
  }
  return modules;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

async function ready(url: string, ended: Promise<unknown>): Promise<void> {
  let gone = false;
  void ended.then(() => {
    gone = true;
  });
  for (const end = performance.now() + readyWithinMs; performance.now() < end; await sleep(25)) {
    if (gone) throw new Error('it ended instead of becoming ready');
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok === true) return;
  }
  throw new Error(`it was not ready within ${readyWithinMs} ms`);
}
