import type { JournalData, JournalEvent } from '@nexus-agent/protocol';
import type { FilesCopy, RunRow, Store } from '#storage';

/**
 * The files as the run knew them after `afterSeq`: with what it, its sub-agents and others had written by the time of the last
 * call that had to do with files. Before any of those they are as they were before the run. Null: there are none yet.
 */
export async function filesAsOf(
  store: Store,
  original: RunRow,
  journal: readonly JournalEvent[],
  afterSeq: number,
): Promise<FilesCopy['from'] | null> {
  const { tenantId } = original;
  const uses = journal.flatMap((event) =>
    event.type === 'tool.completed' && event.seq <= afterSeq && event.data.files !== undefined
      ? [{ ...event.data, files: event.data.files }]
      : [],
  );
  const last = uses.at(-1)?.files.of;
  if (last !== undefined) {
    // A fork of a fork may begin before the first of them did anything: then these are the files that it began with, too.
    const same = uses.filter(({ files }) => files.of === last);
    const made = await store.listFileVersions(tenantId, last, callsThatWrote(same));
    return { treeId: last, version: Math.max(...same.map(({ files }) => files.version), ...made) };
  }
  const [first] = journal;
  const treeId = (first?.type === 'run.created' ? first.data.filesOf : undefined) ?? original.sessionId;
  const tree = await store.getFileTree(tenantId, treeId);
  if (tree === null) return null;
  const later = await store.firstFileVersionSince(tenantId, treeId, original);
  return { treeId, version: later === null ? tree.version : later - 1 };
}

function callsThatWrote(uses: readonly JournalData<'tool.completed'>[]): readonly string[] {
  return uses.flatMap(({ callId, files }) => (files?.changed === undefined ? [] : [callId]));
}
