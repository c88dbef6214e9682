import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { auditBooks, journalOf, runOf } from './audit.ts';
import { answerApproval, pendingApprovals } from './client.ts';
import { type Cluster, steadyLease, until } from './cluster.ts';
import { onEachDatabase } from './databases.ts';
import { chanceOf } from './seed.ts';

/** Asks a process, which must answer with a success. */
async function ask<T>(url: string, path: string, body?: unknown): Promise<T> {
  const request = body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(`${url}${path}`, request);
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as T; // the caller knows the route
}

async function filesOf(url: string, sessionId: string, run?: string): Promise<Record<string, string>> {
  const of = run === undefined ? '' : `&run=${run}`;
  const { data } = await ask<{ data: { path: string }[] }>(url, `/v1/sessions/${sessionId}/files?limit=200${of}`);
  const contents = data.map(async ({ path }) => {
    const response = await fetch(`${url}/v1/sessions/${sessionId}/files/content?path=${encodeURIComponent(path)}${of}`);
    return [path, response.ok ? await response.text() : `(${response.status})`] as const;
  });
  return Object.fromEntries(await Promise.all(contents));
}

const newSession = async (url: string) => (await ask<{ id: string }>(url, '/v1/sessions', { agent: 'filing' })).id;
const start = async (url: string, sessionId: string, input: string) =>
  (await ask<{ id: string }>(url, '/v1/runs', { sessionId, input })).id;
async function completed(cluster: Cluster, runId: string): Promise<string> {
  const row = await until(`run ${runId} to end`, async () => {
    const found = await runOf(cluster, runId);
    return found !== null && ['completed', 'failed', 'cancelled'].includes(found.status) && found;
  });
  return row.status === 'completed' ? (row.output ?? '') : `${row.status}: ${JSON.stringify(row.error)}`;
}

/** Three writes, one by each way that there is, and then the model reads what is there. */
const task = (hold: string) => `hold=${hold}
[[sim say="One." tools=fs_write(path="a.txt",content="first")]]
[[sim say="Two." tools=folder_put(name="b")]]
[[sim say="Three." tools=fs_write(path="a.txt",content="second")]]
[[sim say="And now?" tools=fs_read(path="a.txt"),fs_read(path="log.txt"),fs_list()]]
[[sim say="{{results}}"]]`;
const whole = { 'a.txt': 'second', 'b.txt': 'b', 'log.txt': 'b\n' };

/** What of the session's files is committed when a run is held there. */
const points: Record<string, Record<string, string>> = {
  'before:tool.started:a.txt': {},
  'after:tool.started:a.txt': {},
  'before:tool.completed:a.txt': {},
  'after:tool.completed:a.txt': { 'a.txt': 'first' },
  'tool:b:entered': { 'a.txt': 'first' },
  'tool:b:written': { 'a.txt': 'first' },
  'before:tool.completed:b': { 'a.txt': 'first' },
  'after:tool.completed:b': { 'a.txt': 'first', 'b.txt': 'b', 'log.txt': 'b\n' },
  'model:4:sent': whole,
  'after:model.completed:4': whole,
};

onEachDatabase('files of a process that is killed', {}, (use) => {
  it('are for the next one exactly what the journal knows, wherever it was killed [verifies files.takeover files.committed]', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start({ holds: 'asked', claimsNothing: true, runs: steadyLease });
    const home = cluster.dataDir();
    const sessions = await Promise.all(Object.keys(points).map(() => newSession(victim.url)));
    const runs = await Promise.all(Object.keys(points).map((point, index) => start(victim.url, sessions[index] ?? '', task(point))));
    await until('holding every run', () => victim.held.size === runs.length);
    await victim.kill();
    const other = await cluster.start({ claimsNothing: true, runs: steadyLease });
    if (cluster.databaseUrl !== null) expect(cluster.dataDir()).not.toBe(home);
    for (const [index, committed] of Object.values(points).entries())
      expect([Object.keys(points)[index], await filesOf(other.url, sessions[index] ?? '')]).toEqual([
        Object.keys(points)[index],
        committed,
      ]);

    const next = await cluster.start({ runs: steadyLease });
    for (const [index, runId] of runs.entries()) {
      const point = Object.keys(points)[index] ?? '';
      const answer = await completed(cluster, runId);
      expect([point, answer]).toEqual([point, expect.stringContaining('second\nb\na.txt\t6\nb.txt\t1\nlog.txt\t2')]);
      expect([point, await filesOf(next.url, sessions[index] ?? '')]).toEqual([point, whole]);
      const written = (await journalOf(cluster, runId)).flatMap((event) =>
        event.type === 'tool.completed' ? (event.data.files?.changed ?? []) : [],
      );
      expect(written.map(({ path }) => path).sort()).toEqual(['a.txt', 'a.txt', 'b.txt', 'log.txt']);
    }
    expect(await auditBooks(cluster)).toEqual([]);
  }, 60_000);

  it('that a tool with effects wrote are undone while a person is asked, and written by the retry alone [verifies files.takeover]', async (context) => {
    const cluster = use(context);
    const victim = await cluster.start({ holds: 'asked', claimsNothing: true, runs: steadyLease });
    const home = cluster.dataDir();
    const names = ['done', 'retry', 'fail'];
    const sessions = await Promise.all(names.map(() => newSession(victim.url)));
    const input = (name: string) => `hold=tool:${name}:written
[[sim say="First." tools=folder_put(name="base")]]
[[sim say="Pay." tools=folder_pay(name="${name}")]]
[[sim say="And now?" tools=fs_read(path="log.txt")]]
[[sim say="{{result}}"]]`;
    const runs = await Promise.all(names.map((name, index) => start(victim.url, sessions[index] ?? '', input(name))));
    await until('holding every run', () => victim.held.size === runs.length);
    // It is in the folder of the process that dies, and nowhere else.
    expect(await leftovers(home)).toEqual(expect.arrayContaining(['done.txt', 'retry.txt', 'fail.txt']));
    await victim.kill();
    const next = await cluster.start({ runs: steadyLease });
    const questions = await until('three questions', async () => {
      const pending = await pendingApprovals(next.url);
      return pending.size === 3 && pending;
    });
    for (const [index] of names.entries())
      expect(await filesOf(next.url, sessions[index] ?? '')).toEqual({ 'base.txt': 'base', 'log.txt': 'base\n' });
    for (const [index, name] of names.entries()) {
      const question = questions.get(runs[index] as Parameters<typeof questions.get>[0]);
      expect(question?.question).toContain('is undone in any case');
      const answer = name === 'done' ? { decision: 'done' as const, result: 'it was paid' } : { decision: name as 'retry' | 'fail' }; // one of the names
      expect(await answerApproval(next.url, question?.id ?? '', answer)).toBe(200);
    }
    const answers = await Promise.all(runs.map((runId) => completed(cluster, runId)));
    expect(answers).toEqual(['base', 'base\nretry', 'base']);
    expect(await filesOf(next.url, sessions[1] ?? '')).toEqual({ 'base.txt': 'base', 'retry.txt': 'retry', 'log.txt': 'base\nretry\n' });
  }, 60_000);

  it('are whole when it is killed in the middle of writing many, whenever that is [verifies files.takeover files.committed]', async (context) => {
    const cluster = use(context);
    const chance = chanceOf(`writing on ${cluster.databaseUrl === null ? 'sqlite' : 'postgres'}`);
    const files = 12;
    const content = (run: number, file: number) => `${run} ${file} `.repeat(50);
    const input = (run: number) =>
      [0, 1, 2]
        .map((round) => {
          const calls = Array.from({ length: files / 3 }, (_, at) => {
            const file = round * (files / 3) + at;
            return `fs_write(path="${run}/${file}.txt",content="${content(run, file)}")`;
          });
          return `[[sim tools=${calls.join(',')}]]`;
        })
        .concat('[[sim say="all are written"]]')
        .join('\n');
    const lease = { ...steadyLease, leaseMs: 3_000, maxDeaths: 20 };
    let writer = await cluster.start({ runs: lease });
    const sessions = await Promise.all([0, 1, 2].map(() => newSession(writer.url)));
    const runs = await Promise.all(sessions.map((sessionId, run) => start(writer.url, sessionId, input(run))));
    for (let kill = 0; kill < 2; kill++) {
      await until('something to be written', async () => (await writtenOf(cluster, runs)) > kill * 4);
      await new Promise((resolve) => setTimeout(resolve, chance.int(0, 120)));
      await writer.kill();
      writer = await cluster.start({ runs: lease });
    }
    for (const [run, runId] of runs.entries()) {
      expect(await completed(cluster, runId)).toBe('all are written');
      const found = await filesOf(writer.url, sessions[run] ?? '');
      expect(found).toEqual(Object.fromEntries(Array.from({ length: files }, (_, file) => [`${run}/${file}.txt`, content(run, file)])));
      const changed = (await journalOf(cluster, runId)).flatMap((event) =>
        event.type === 'tool.completed' ? (event.data.files?.changed ?? []) : [],
      );
      expect(changed.map(({ path }) => path).sort()).toEqual(Object.keys(found).sort());
    }
    expect(await auditBooks(cluster)).toEqual([]);
  }, 90_000);

  it('of a process that was only paused change nothing when it goes on [verifies files.takeover]', async (context) => {
    const cluster = use(context);
    const paused = await cluster.start({ holds: 'asked', runs: steadyLease });
    const sessionId = await newSession(paused.url);
    const run = await start(paused.url, sessionId, task('tool:b:written'));
    await until('holding the run', () => paused.held.size === 1);
    const other = await cluster.start({ runs: steadyLease });
    await cluster.pause(paused);
    expect(await completed(cluster, run)).toContain('second\nb\n');
    paused.signal('SIGCONT');
    paused.release();
    // Both see the same afterwards, the one that was paused in the folder that it had, too.
    for (const url of [paused.url, other.url]) {
      const read = await start(url, sessionId, `${url} [[sim tools=fs_read(path="log.txt"),fs_list()]][[sim say="{{results}}"]]`);
      expect(await completed(cluster, read)).toBe('b\na.txt\t6\nb.txt\t1\nlog.txt\t2');
      expect(await filesOf(url, sessionId)).toEqual(whole);
    }
  }, 60_000);

  it('are brought to whichever process drives the next run, and a fork of one elsewhere begins with those of its step [verifies files.takeover files.fork]', async (context) => {
    const cluster = use(context);
    const machines = [await cluster.start({ runs: steadyLease }), await cluster.start({ runs: steadyLease, claimsNothing: true })];
    const [one, other] = machines.map(({ url }) => url) as [string, string]; // there are two
    const sessionId = await newSession(one);
    const first = await start(one, sessionId, task('nowhere'));
    expect(await completed(cluster, first)).toContain('second');
    const second = await start(other, sessionId, '[[sim tools=folder_put(name="elsewhere")]][[sim say="ok"]]');
    expect(await completed(cluster, second)).toBe('ok');
    const third = await start(one, sessionId, '[[sim tools=fs_read(path="log.txt")]][[sim say="{{result}}"]]');
    expect(await completed(cluster, third)).toBe('b\nelsewhere');
    const journal = await journalOf(cluster, first);
    const [afterSeq] = journal.flatMap((event) => (event.type === 'tool.completed' ? [event.seq] : []));
    const input = '[[sim say="1"]][[sim tools=fs_write(path="a.txt",content="fork")]][[sim say="ok"]]';
    const fork = (await ask<{ id: string }>(other, `/v1/runs/${first}/fork`, { afterSeq, input })).id;
    expect(await completed(cluster, fork)).toBe('ok');
    expect(await filesOf(other, sessionId, fork)).toEqual({ 'a.txt': 'fork' });
    expect(await filesOf(one, sessionId)).toEqual({ ...whole, 'elsewhere.txt': 'elsewhere', 'log.txt': 'b\nelsewhere\n' });
  }, 60_000);
});

/** Files that the journals of the runs know. */
async function writtenOf(cluster: Cluster, runs: readonly string[]): Promise<number> {
  const journals = await Promise.all(runs.map((runId) => journalOf(cluster, runId)));
  return journals.flat().filter(({ type }) => type === 'tool.completed').length;
}

/** Names of the files in the folders of the processes of one machine. */
async function leftovers(home: string): Promise<string[]> {
  const folder = join(home, 'folders');
  return existsSync(folder) ? readdirSync(folder, { recursive: true }).map((path) => String(path).split('/').at(-1) ?? '') : [];
}
