import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { findExamples } from './server.ts';

const launcher = fileURLToPath(new URL('../../../bin/nexus.mjs', import.meta.url));
const folder = { path: '' };
const children = new Set<ChildProcess>();

afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  if (folder.path !== '') rmSync(folder.path, { recursive: true, force: true });
  folder.path = '';
});

/** The demo as a process of its own, off a terminal, with its temporary files in a folder of the test. */
function start(args: readonly string[], port: number) {
  folder.path = mkdtempSync(join(tmpdir(), 'nexus-demo-test-'));
  const child = spawn(process.execPath, [launcher, 'demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: folder.path,
    env: { PATH: process.env.PATH, HOME: folder.path, TMPDIR: folder.path, NEXUS_PORT: String(port), OPENAI_API_KEY: 'sk-not-used' },
  });
  children.add(child);
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const ended = once(child, 'close');
  return {
    child,
    out: () => out,
    async end() {
      const [code] = (await ended) as [number | null];
      children.delete(child);
      return { code, out, err };
    },
    async saw(text: string) {
      while (!out.includes(text)) {
        if (child.exitCode !== null) throw new Error(`the demo ended without printing "${text}"\n${out}\n${err}`);
        await once(child.stdout, 'data');
      }
    },
  };
}

function column(path: string, name: string): number[] {
  const [head = [], ...rows] = readFileSync(`${findExamples()}/workspace/${path}`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(','));
  return rows.map((row) => Number(row[head.indexOf(name)]));
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

it('shows every promise and ends with 0, also when its port is taken [verifies demo.off-terminal]', { timeout: 90_000 }, async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo; // it listens on TCP
  try {
    const { code, out, err } = await start([], port).end();
    expect({ code, err }, out).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/server {3}http:\/\/127\.0\.0\.1:\d+ /);
    expect(out).not.toContain(`127.0.0.1:${port} `);

    const sections = [...out.matchAll(/^(\d) {2}(.+?) ─/gm)].map(([, number, title]) => `${number} ${title}`);
    expect(sections).toEqual([
      '1 Start',
      '2 A session with its budget and its policy',
      '3 A task in several steps, with tools in parallel',
      '4 An approval that outlives a restart',
      '5 A budget that stops a run',
      '6 A provider that fails',
      '7 A worker killed in the middle of a run',
      '8 What was spent, decided and traced',
    ]);

    // A plain text, in which no model but a simulated one speaks, and says so.
    expect(out).not.toContain('\u001b');
    const speakers = [...out.matchAll(/step \d+ · (.+?) (?:answers|→)/g)].map(([, name]) => name);
    expect(speakers.length).toBeGreaterThan(10);
    for (const name of speakers) expect(name).toMatch(/^sim\S* \(simulator\)$/);

    // The numbers of the answers are those of the files.
    const text = out.replace(/\n\s+│ /g, ' ');
    const masses = sum(column('data/planets.csv', 'mass_1e24_kg'));
    const radii = column('data/moons.csv', 'radius_km');
    expect(text).toContain(`mass_1e24_kg over 8 rows of data/planets.csv: sum ${Math.round(masses * 1e6) / 1e6}`);
    expect(text).toContain(`sum ${sum(radii)}, mean ${Math.round((sum(radii) / radii.length) * 100) / 100}`);
    const densities = column('data/planets.csv', 'density_kg_m3');
    expect(text).toContain(`sum ${sum(densities)}, mean ${Math.round((sum(densities) / densities.length) * 100) / 100}`);

    // What does not fit a terminal of 80 columns goes on below.
    const paths = /^ +(files|examples) /; // as long as they are
    for (const line of out.split('\n')) if (!paths.test(line)) expect(line.length, line).toBeLessThanOrEqual(80);
    const flowing = out.replaceAll(/\s+/g, ' ');
    expect(out).toContain('3 ran in parallel');
    expect(out).toContain('⊘ denied by policy');
    expect(out).toMatch(/fs_write +reports\/moons\.md +\? waits for a person/);
    expect(flowing).toMatch(/stopped and started again in .+; the approval is still pending/);
    const [, limit] = /agent thrifty: a run may spend (\$0\.\d{6})/.exec(out) ?? [];
    const [, stopped] = /stopped by its budget[^\n]*\n +run limit (\$0\.\d{6}) · asked \$0\.\d{6} · left \$0\.\d{6}\n/.exec(out) ?? [];
    expect(stopped, out).toBe(limit ?? 'a limit that is told');
    expect(out).toContain('5 calls in the journal, 0 of them repeated');
    expect(flowing).toContain('falls back from sim/sim-down (simulator) to sim-anthropic/sim-large (simulator)');
    expect(flowing).toMatch(/kill -9 \d+ → SIGKILL, after event \d+ of the journal, with code_js in flight/);
    expect(out).toMatch(/finished before {2}5 calls, 0 repeated/);
    expect(flowing).toMatch(/tool call of step 2: started again/);
    expect(out).toMatch(/journal +\d+ events, 0 gaps/);
    const takeover = /taken over ([\d.]+) (m?s) after the kill/.exec(out);
    expect(Number(takeover?.[1]) * (takeover?.[2] === 's' ? 1000 : 1)).toBeLessThan(10_000);

    expect(out).toContain('✓ balanced');
    expect(flowing).toContain('still reserved $0.000000');
    expect(out.match(/✓ same$/gm)).toHaveLength(5);
    expect(flowing).toContain('5 of 5 runs give the recorded state');
    expect(flowing).toMatch(/operator:network\.cedar:files-only and agent:deny\[0\]/);
    expect(new Set(out.match(/\b[0-9a-f]{32}\b/g)).size).toBe(5);
    expect(readdirSync(folder.path).filter((name) => name.startsWith('nexus-demo-'))).toEqual([]);
  } finally {
    taken.close();
  }
});

it('ends in good order when it is interrupted, and leaves nothing behind', { timeout: 60_000 }, async () => {
  const demo = start([], 0);
  await demo.saw('step 1 ·');
  demo.child.kill('SIGINT');
  const { code, err } = await demo.end();
  expect({ code, err }).toEqual({ code: 130, err: 'the demo was interrupted\n' });
  expect(readdirSync(folder.path).filter((name) => name.startsWith('nexus-demo-'))).toEqual([]);
});

it('says what is wrong and ends with 1 when it cannot work', { timeout: 60_000 }, async () => {
  const blocked = mkdtempSync(join(tmpdir(), 'nexus-demo-blocked-'));
  try {
    writeFileSync(join(blocked, 'file'), '');
    const { code, err } = await start(['--data-dir', join(blocked, 'file', 'data')], 0).end();
    expect(code).toBe(1);
    expect(err).toMatch(/^error: .*ENOTDIR.*/);
  } finally {
    rmSync(blocked, { recursive: true, force: true });
  }
});
