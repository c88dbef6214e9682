/**
 * Runs the commands of the README and the docs as a reader would type them.
 *
 *   node scripts/checks/readme-snippets.ts [--list]
 *
 * A ```sh block runs when the line before it is `<!-- ci -->`. The blocks of one page run in order, each in a shell of its own, from the
 * root of the repository, with a data directory that the page has for itself and the port of NEXUS_PORT (8080, which must then be free). `<!-- ci serve -->` marks a block whose last command keeps
 * running: it is left in the background until /readyz answers, and stopped after the page. Further lines of the comment run first, in the same
 * shell, or alone where no block follows; a placeholder such as `<session>` stands for what the function `session` that they define prints. A block fails on the first command that fails.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lineOf, listFiles, readText } from './files.ts';

const blockWithinMs = 120_000;
const readyWithinMs = 30_000;
const root = join(import.meta.dirname, '../..');

interface Snippet {
  readonly place: string;
  readonly serves: boolean;
  readonly script: string;
}

const pages = listFiles(root)
  .filter((file) => file === 'README.md' || /^docs\/.*\.md$/.test(file))
  .map((file) => ({ file, snippets: snippetsOf(file, readText(root, file)) }))
  .filter(({ snippets }) => snippets.length > 0);

function snippetsOf(file: string, text: string): Snippet[] {
  return [...text.matchAll(/^<!-- ci( serve)?(?: |\n([\s\S]*?))-->\n+(?:```sh\n([\s\S]*?)^```)?/gm)].map((match) => {
    const shown = (match[3] ?? '').replace(/^\$ /gm, '').replace(/<([a-z]+)>/g, '"$($1)"');
    return { place: `${file}:${lineOf(text, match.index)}`, serves: match[1] !== undefined, script: `${match[2] ?? ''}${shown}` };
  });
}

let passed = 0;
let failed = 0;
for (const page of pages) {
  if (process.argv.includes('--list')) {
    for (const { place, script } of page.snippets) process.stdout.write(`${place}\n${script.replace(/^/gm, '    ').trimEnd()}\n`);
    continue;
  }
  const folder = mkdtempSync(join(tmpdir(), 'nexus-docs-'));
  const servers: ChildProcess[] = [];
  try {
    for (const snippet of page.snippets) {
      const started = performance.now();
      const problem = await runSnippet(snippet, folder, servers);
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      if (problem === undefined) passed += 1;
      else failed += 1;
      process.stdout.write(
        `${problem === undefined ? 'ok    ' : 'FAILED'}  ${snippet.place} in ${seconds} s${problem === undefined ? '' : `: ${problem}`}\n`,
      );
      if (problem !== undefined) break;
    }
  } finally {
    for (const server of servers) stop(server);
    await Promise.all(servers.map((server) => (server.exitCode === null && server.signalCode === null ? once(server, 'exit') : undefined)));
    rmSync(folder, { recursive: true, force: true });
  }
}
process.stdout.write(`readme-snippets: ${passed} passed, ${failed} failed\n`);
if (failed > 0) process.exitCode = 1;

/** Runs one block; returns what went wrong. The default port is left as it is, because the commands name it. */
async function runSnippet(snippet: Snippet, folder: string, servers: ChildProcess[]): Promise<string | undefined> {
  // `nexus` is found as it would be after an install.
  const child = spawn('bash', ['-euo', 'pipefail', '-c', snippet.script], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      PATH: [join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter),
      NEXUS_DATA_DIR: join(folder, 'data'),
    },
  });
  const output: string[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  const ended = once(child, 'exit').then(([code, signal]) => String(signal ?? code));
  const lastLines = () => `\n${output.join('').trim().split('\n').slice(-15).join('\n').replace(/^/gm, '        | ')}`;
  if (snippet.serves) {
    servers.push(child);
    const outcome = await Promise.race([ready(), ended.then((code) => `it ended with ${code}${lastLines()}`)]);
    return outcome === 'ready' ? undefined : outcome;
  }
  const code = await Promise.race([ended, sleep(blockWithinMs, 'late', { ref: false })]);
  if (code === '0') return undefined;
  stop(child);
  return code === 'late' ? `not finished after ${blockWithinMs / 1000} s${lastLines()}` : `exit ${code}${lastLines()}`;
}

async function ready(): Promise<string> {
  const url = `http://127.0.0.1:${process.env.NEXUS_PORT ?? '8080'}/readyz`;
  for (const end = performance.now() + readyWithinMs; performance.now() < end; await sleep(50)) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok === true) return 'ready';
  }
  return `not ready after ${readyWithinMs / 1000} s`;
}

/** The block's shell leads a process group of its own, so that what it started ends with it. */
function stop(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGTERM');
  } catch {
    // The group ended between the check and the signal.
  }
}
