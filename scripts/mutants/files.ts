import { type Mutant, server } from './mutant.ts';

const storeTests = ['test/conformance/storage.test.ts'];
const folderTests = ['test/conformance/session-files.test.ts', 'test/conformance/session-file-limits.test.ts'];
const contentTests = ['test/conformance/contents.test.ts'];
const fileTests = ['test/e2e/files.test.ts'];

/** Of the files of sessions, from the blob to the fork. */
export const fileMutants: readonly Mutant[] = [
  {
    bug: 'a file stays where a later commit needs a folder',
    file: `${server}/storage/commit/files.ts`,
    replace: '  for (const folder of foldersOf(path)) end(tree, folder);\n',
    by: '',
    tests: storeTests,
  },
  {
    bug: 'what is kept is believed without its hash',
    file: `${server}/storage/read-blob.ts`,
    replace: "  if (seen === bytes && hash.digest('hex') === sha256) return;",
    by: '  if (seen === bytes) return;',
    tests: ['test/conformance/blobs.test.ts'],
  },
  {
    bug: 'a result is written without the files that came with it',
    file: `${server}/runs/drive/tool-end.ts`,
    replace: '  return propose({ files: [{ treeId, runId, callId: call.callId, changes }] });',
    by: '  return propose({});',
    tests: fileTests,
  },
  {
    bug: 'a folder that takes longer than one call to be brought never comes',
    file: `${server}/tools/files/tree-folder.ts`,
    replace: '      this.#ahead = new Map([...before, ...ahead]);\n',
    by: '',
    tests: folderTests,
  },
  {
    bug: 'a fork begins with the files from before the last write of its step',
    file: `${server}/runs/start/fork-files.ts`,
    replace: 'files.version), ...made) };',
    by: 'files.version)) };',
    tests: fileTests,
  },
  {
    bug: 'what a failed call left in its folder is seen by the next',
    file: `${server}/tools/files/call-folder.ts`,
    replace: '    discard: () => options.afterwards(undo()),',
    by: '    discard: leave,',
    tests: folderTests,
  },
  {
    bug: 'what a tool left in its folder counts before it is committed',
    file: `${server}/tools/files/call-folder.ts`,
    replace: '    for (const each of [...gone, ...touched]) folder.stray(each, null);\n    let undone',
    by: '    let undone',
    tests: folderTests,
  },
  {
    bug: 'a content that is there already is put without being touched',
    file: `${server}/storage/blobs/kept.ts`,
    replace: '      await touch(blob, signal, Math.max(keepMs, 2 * forMs));\n',
    by: '',
    tests: contentTests,
  },
  {
    bug: 'a content that is being removed is taken for one that is there',
    file: `${server}/storage/tables/contents.ts`,
    replace: "if (noted.some(({ kind, at }) => kind === 'leaving' && at + removingMs > now)) {",
    by: "if (noted.some(({ kind, at }) => kind === 'none' && at + removingMs > now)) {",
    tests: contentTests,
  },
  {
    bug: 'who waits for a content to be gone makes it look as if it were there',
    file: `${server}/storage/tables/contents.ts`,
    replace: '    // What is being removed has no note,',
    by: '    if (now >= 0) return null;\n    // What is being removed has no note,',
    tests: contentTests,
  },
  {
    bug: 'a file names a content that is gone',
    file: `${server}/storage/tables/contents.ts`,
    replace: '    for (const hash of left) if (!there.has(hash)) gone.add(hash);\n',
    by: '',
    tests: contentTests,
  },
  {
    bug: 'a content that a file has and nobody noted is taken for gone',
    file: `${server}/storage/tables/contents.ts`,
    replace: '    for (const { id } of named) there.add(id);\n',
    by: '',
    tests: contentTests,
  },
  {
    bug: 'the seed of a session names a content that is gone',
    file: `${server}/storage/tables/files.ts`,
    replace: '      requireKept(yield* goneContents',
    by: '      void (yield* goneContents',
    tests: storeTests,
  },
  {
    bug: 'a run whose call names a content that is gone cannot be written',
    file: `${server}/runs/drive/refused.ts`,
    replace: ", 'storage_unavailable']",
    by: ']',
    tests: [`${server}/runs/drive/refused.test.ts`],
  },
  {
    bug: 'a run whose session has no room for a result cannot be written',
    file: `${server}/calls/artifacts.ts`,
    replace: "'quota_exceeded', ",
    by: '',
    tests: [`${server}/runs/drive/refused.test.ts`],
  },
  {
    bug: 'half of a character is kept where a result is cut',
    file: `${server}/tools/execution/long-result.ts`,
    replace: '=== 0x80) end -= 1;',
    by: '=== 0x81) end -= 1;',
    tests: [`${server}/tools/execution/long-result.test.ts`],
  },
  {
    bug: 'a pair is kept as two halves where a slice of a result ends',
    file: `${server}/tools/execution/long-result.ts`,
    replace: "? clean.slice(-1) : ''",
    by: "? '' : ''",
    tests: [`${server}/tools/execution/long-result.test.ts`],
  },
  {
    bug: 'a content is removed that another session has',
    file: `${server}/storage/tables/contents.ts`,
    replace: "  if (named !== undefined) return 'kept';\n",
    by: '',
    tests: contentTests,
  },
  {
    bug: 'a process that stood still goes on removing what was written meanwhile',
    file: `${server}/storage/blobs/kept.ts`,
    replace: "      if (tookMs > removingMs / 4) return 'busy';\n",
    by: '',
    tests: contentTests,
  },
  {
    bug: 'a path is kept that is longer than an index takes',
    file: `${server}/tools/files/limits.ts`,
    replace: '  requirePathFits(path);\n',
    by: '',
    tests: folderTests,
  },
  {
    bug: 'a session begins with a path that is longer than an index takes',
    file: `${server}/tools/files/seed.ts`,
    replace: '      requirePathFits(item.path);\n',
    by: '',
    tests: folderTests,
  },
];
