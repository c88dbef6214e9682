import { type Mutant, server } from './mutant.ts';

const sharesTests = [`${server}/core/shares.test.ts`];
const resolverTests = [`${server}/tools/net/resolver.test.ts`];
const spaceTests = [`${server}/apps/space-keeper.test.ts`];
const storeTests = ['test/conformance/quotas.test.ts'];

/** Of what tenants share, and of how much each may have. */
export const sharesMutants: readonly Mutant[] = [
  {
    bug: 'shares: the spare places are for everybody',
    file: `${server}/core/turns.ts`,
    replace: 'if (all.running < places) return true;',
    by: 'if (all.running < places + spare) return true;',
    tests: sharesTests,
  },
  {
    bug: 'shares: whoever came first goes first, however much they have',
    file: `${server}/core/turns.ts`,
    replace: '(best !== null && child.running >= best.running)',
    by: 'best !== null',
    tests: sharesTests,
  },
  {
    bug: 'shares: one tenant may have all that waits',
    file: `${server}/core/shares.ts`,
    replace: 'turns.waitingOf(holder.tenantId) >= maxWaiting - turns.waiting',
    by: 'turns.waiting >= maxWaiting',
    tests: sharesTests,
  },
  {
    bug: 'shares: who gives up keeps waiting',
    file: `${server}/core/shares.ts`,
    replace: '          turns.leave(ticket);\n          over();',
    by: '          over();',
    tests: sharesTests,
  },
  {
    bug: 'shares: programs run as they come, whoever sends them',
    file: `${server}/tools/sandbox/sandbox.ts`,
    replace: 'entry = await shares.enter(holder, signal);',
    by: 'entry = await shares.enter(nobody, signal);',
    tests: [`${server}/tools/sandbox/sandbox.test.ts`],
  },
  {
    bug: 'shares: granted names are each looked up anew, as many as ask',
    file: `${server}/tools/net/resolver.ts`,
    replace: 'if (known !== undefined) return known;\n      const answer',
    by: 'const answer',
    tests: resolverTests,
  },
  {
    bug: 'shares: a name that is given up goes on being asked',
    file: `${server}/tools/net/resolver.ts`,
    replace: "signal?.addEventListener('abort', onAbort, { once: true });\n      try {\n        const [four",
    by: 'try {\n        const [four',
    tests: resolverTests,
  },
  {
    bug: 'quotas: two processes both find room for the last session',
    file: `${server}/storage/tables/quotas.ts`,
    replace: "key: 'kind', keys: wanted, orderBy: ['kind'], lock: true",
    by: "key: 'kind', keys: wanted, orderBy: ['kind'], lock: false",
    tests: storeTests,
  },
  {
    bug: 'quotas: files are not looked at where they are committed',
    file: `${server}/storage/commit/files.ts`,
    replace: '          requireTreeRoom(quotas.tree, tree.row, size);\n',
    by: '',
    tests: storeTests,
  },
  {
    bug: 'quotas: deep folders and long names cost nothing',
    file: `${server}/storage/tables/files.ts`,
    replace: "return Math.max(path.split('/').length, Math.ceil([...path].length / 100));",
    by: 'return path === null ? 0 : 1;',
    tests: storeTests,
  },
  {
    bug: 'quotas: what a deleted session had goes on counting',
    file: `${server}/storage/tables/retention.ts`,
    replace: "  yield* uncount(tenantId, 'files', files.filter(({ replaced }) => replaced === null).length);\n",
    by: '',
    tests: storeTests,
  },
  {
    bug: 'quotas: contents of other sessions and versions are not counted',
    file: `${server}/storage/tables/contents.ts`,
    replace: 'if (bytes !== undefined) yield* countContent',
    by: 'if (bytes === -1) yield* countContent',
    tests: storeTests,
  },
  {
    bug: 'disk: files take the room of the database',
    file: `${server}/apps/space-keeper.ts`,
    replace: 'bytes: room.freeBytes - kept, files',
    by: 'bytes: room.freeBytes, files',
    tests: spaceTests,
  },
  {
    bug: 'disk: what was granted a moment ago is granted again',
    file: `${server}/apps/space-keeper.ts`,
    replace: 'held[unit] += wanted[unit];',
    by: 'held[unit] += 0;',
    tests: spaceTests,
  },
  {
    bug: 'disk: what has just been written is room until the next look',
    file: `${server}/apps/space-keeper.ts`,
    replace: 'ended[unit] += mine[unit];',
    by: 'ended[unit] += 0;',
    tests: spaceTests,
  },
  {
    bug: 'disk: each folder has an account of its own',
    file: `${server}/apps/space-keeper.ts`,
    replace: 'keepers.set(disk, keeper);',
    by: '',
    tests: spaceTests,
  },
  {
    bug: 'disk: the room seen a moment ago is believed on a disk that is nearly full',
    file: `${server}/apps/space-keeper.ts`,
    replace: 'seen.bytes - ended.bytes > plentyBytes && ',
    by: '',
    tests: spaceTests,
  },
  {
    bug: 'requests: what one tenant has under way is not counted',
    file: `${server}/api/http/tenant-share.ts`,
    replace: 'if (now >= limit) {',
    by: 'if (now < 0) {',
    tests: [`${server}/api/http/tenant-share.test.ts`],
  },
];
