import { TenantId } from '@nexus-agent/protocol';
import { expect, it } from 'vitest';
import { NexusError } from '#core';
import { createManualTime } from '#core/testing';
import type { Commit } from '#storage/contract';
import type { BatchResult } from './batch.ts';
import { createGroupCommit } from './group.ts';

const { timers, clock } = createManualTime();
const committed: BatchResult = { type: 'committed', at: 1, events: [], outcomes: [] };
const commitsOf = (tenant: string, count: number): Commit[] =>
  Array.from({ length: count }, (_, index) => ({
    tenantId: TenantId.parse(tenant),
    idempotency: { key: `${index}`, requestHash: '', resourceId: '' },
  }));
const keysOf = (commits: readonly Commit[]) => commits.map(({ idempotency }) => idempotency?.key).join('');

it('writes commits of one tenant that come together in one transaction, at most as many as it may', async () => {
  const batches: string[] = [];
  const group = createGroupCommit({
    timers,
    clock,
    timeoutMs: 1_000,
    maxCommits: 3,
    async flush(commits) {
      batches.push(`${commits[0]?.tenantId} ${keysOf(commits)}`);
      return commits.map(() => committed);
    },
  });
  await Promise.all([...commitsOf('a', 4), ...commitsOf('b', 2)].map((commit) => group.commit(commit)));
  expect(batches.sort()).toEqual(['a 012', 'a 3', 'b 01']);
});

it('hands the next transaction what one has not taken, in order and before what came later', async () => {
  const batches: string[] = [];
  const group = createGroupCommit({
    timers,
    clock,
    timeoutMs: 1_000,
    maxCommits: 4,
    async flush(commits) {
      batches.push(keysOf(commits));
      return commits.slice(0, 2).map(() => committed);
    },
  });
  await Promise.all(commitsOf('a', 5).map((commit) => group.commit(commit)));
  expect(batches).toEqual(['0123', '234', '4']);
});

it('repeats a transaction that failed one commit at a time, so that the poisonous one fails alone', async () => {
  const group = createGroupCommit({
    timers,
    clock,
    timeoutMs: 1_000,
    maxCommits: 9,
    async flush(commits) {
      if (keysOf(commits).includes('1')) throw new NexusError('internal', 'poison');
      return commits.map(() => committed);
    },
  });
  const results = await Promise.allSettled(commitsOf('a', 3).map((commit) => group.commit(commit)));
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
});

it('does not repeat what the database did not answer, and refuses commits once it is closed', async () => {
  let flushes = 0;
  const group = createGroupCommit({
    timers,
    clock,
    timeoutMs: 1_000,
    maxCommits: 9,
    async flush() {
      flushes += 1;
      throw new NexusError('storage_unavailable', 'gone');
    },
  });
  const results = await Promise.allSettled(commitsOf('a', 3).map((commit) => group.commit(commit)));
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  expect(flushes).toBe(1);
  await group.close();
  await expect(group.commit({ tenantId: TenantId.parse('a') })).rejects.toMatchObject({ code: 'storage_unavailable' });
});

it('fails a commit whose time has passed behind one that is not answered, and gives the next the rest of its own', async () => {
  const time = createManualTime();
  const given: [string, number][] = [];
  const group = createGroupCommit({
    timers: time.timers,
    clock: time.clock,
    timeoutMs: 1_000,
    maxCommits: 1,
    async flush(commits, withinMs) {
      given.push([keysOf(commits), withinMs]);
      await time.timers.sleep(600);
      return commits.map(() => committed);
    },
  });
  const results = Promise.allSettled(commitsOf('a', 3).map((commit) => group.commit(commit)));
  await time.advance(2_000);
  expect((await results).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  expect(given).toEqual([
    ['0', 1_000],
    ['1', 400],
  ]);
});
