import type { Driver } from '#storage/drivers';
import type { Chronicle, Story } from './chronicle.ts';
import { selectAll } from './rows.ts';
import { Violation } from './violation.ts';

interface Change {
  readonly path: string;
  readonly sha256: string | null;
}

/** What a tree of files holds, by path: as it was after each change of it. */
type Versions = ReadonlyMap<string, string>[];

export interface FileChecks {
  /** All of it. Throws {@link Violation}. */
  everything(): Promise<void>;
}

/** The files are what the journals say of them, and what they hold can be had. */
export function createFileChecks(database: Driver, chronicle: Chronicle, contents: ReadonlyMap<string, unknown>): FileChecks {
  const trees = new Map<string, Versions>();

  function change(story: Story, data: Readonly<Record<string, unknown>>): void {
    const files = data.files as { readonly of: string; readonly version: number; readonly changed?: readonly Change[] } | undefined; // as the protocol has it
    if (files?.changed === undefined) return;
    const wanted = story.events[0]?.data.filesOf ?? story.sessionId;
    if (files.of !== wanted) throw new Violation(`files: ${story.runId} changed files of ${files.of}, and its own are ${String(wanted)}`);
    const versions = trees.get(files.of);
    if (versions === undefined) throw new Violation(`files: ${story.runId} changed files of ${files.of}, which are not there`);
    const next = new Map(versions.at(-1));
    for (const { path, sha256 } of files.changed) {
      if (sha256 === null) next.delete(path);
      else next.set(path, sha256);
    }
    versions.push(next);
  }

  /** A fork begins with what its original had at some time. */
  async function begin(story: Story): Promise<void> {
    const rows = await selectAll(database, 'select path, sha256 from files where tree_id = ? and version = 1', story.runId);
    const held = new Map(rows.map(({ path, sha256 }) => [String(path), String(sha256)]));
    const fork = story.events[0]?.data.forkOf as { readonly runId: string } | undefined; // as the protocol has it
    const original = fork === undefined ? undefined : chronicle.stories.get(fork.runId);
    const of = String(original?.events[0]?.data.filesOf ?? story.sessionId);
    const known = [new Map<string, string>(), ...(trees.get(of) ?? [])];
    if (!known.some((version) => holdsTheSame(version, held)))
      throw new Violation(`files: the fork ${story.runId} begins with files that ${of} never had together`);
    trees.set(story.runId, [held]);
  }

  chronicle.listen({
    async event(story, { type, data, seq }) {
      if (!trees.has(story.sessionId)) trees.set(story.sessionId, []);
      if (type === 'run.created' && data.forkOf !== undefined) await begin(story);
      // What a fork begins with was written by its original.
      if (type === 'tool.completed' && seq > 1 + Number(story.events[0]?.data.copied ?? 0)) change(story, data);
    },
  });

  return {
    async everything() {
      const rows = await selectAll(database, 'select tree_id, path, sha256 from files where replaced is null');
      const found = new Map<string, Map<string, string>>();
      for (const { tree_id, path, sha256 } of rows)
        found.set(String(tree_id), (found.get(String(tree_id)) ?? new Map()).set(String(path), String(sha256)));
      const there = await selectAll(database, 'select tree_id, files from file_trees');
      for (const { tree_id, files } of there) {
        const tree = String(tree_id);
        // One that is being cleared away is nobody's any more.
        const story = [...chronicle.stories.values()].find(({ runId, sessionId }) => runId === tree || sessionId === tree);
        if (story?.isGone === true) continue;
        const held = found.get(tree) ?? new Map<string, string>();
        const told = trees.get(tree)?.at(-1) ?? new Map<string, string>();
        if (!holdsTheSame(told, held)) throw new Violation(`files: ${tree} holds ${describe(held)}, its journals say ${describe(told)}`);
        if (Number(files) !== held.size) throw new Violation(`files: ${tree} holds ${held.size} files, its row says ${files}`);
      }
      for (const { tenant_id, sha256 } of await selectAll(database, 'select distinct tenant_id, sha256 from files'))
        if (!contents.has(`${tenant_id}/${sha256}`)) throw new Violation(`files: a file has the content ${sha256}, which is not kept`);
    },
  };
}

const holdsTheSame = (one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>) =>
  one.size === other.size && [...one].every(([path, sha256]) => other.get(path) === sha256);

const describe = (files: ReadonlyMap<string, string>) =>
  JSON.stringify([...files].map(([path, sha256]) => `${path} ${sha256.slice(0, 6)}`).sort());
