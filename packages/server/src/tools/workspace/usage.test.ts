import { expect, it } from 'vitest';
import { createUsageGuard } from './usage.ts';

const limits = { maxWorkspaceBytes: 10, maxWorkspaceFiles: 10 };
const empty = async () => ({ bytes: 0, files: 0 });
const gate = () => {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
};

it('lets no two writes of a workspace happen at once, however many workspaces are written to meanwhile', async () => {
  const guard = createUsageGuard(limits);
  const { open, opened } = gate();
  let inside = 0;
  let most = 0;
  const write = (root: string, work: () => Promise<void>) =>
    guard.write(root, async () => ({ change: { bytes: 1, files: 1 }, write: work }), empty);
  const slow = async () => {
    inside += 1;
    most = Math.max(most, inside);
    await opened;
    inside -= 1;
  };
  const first = write('busy', async () => undefined);
  const second = write('busy', slow);
  await first;
  await Promise.all(Array.from({ length: 3_000 }, (_, index) => write(`other-${index}`, async () => undefined)));
  const third = write('busy', slow);
  await new Promise((resolve) => setImmediate(resolve));
  open();
  await Promise.all([second, third]);
  expect(most).toBe(1);
});

it('measures when a workspace is first written to, before it refuses, and after a write that failed', async () => {
  const guard = createUsageGuard(limits);
  let measured = 0;
  const write = (bytes: number, work = async () => undefined) =>
    guard.write(
      'root',
      async () => ({ change: { bytes, files: 0 }, write: work }),
      async () => {
        measured += 1;
        return { bytes: 4, files: 1 };
      },
    );
  for (let index = 0; index < 2; index++) await write(1);
  expect(measured).toBe(1);
  await expect(write(1, () => Promise.reject(new Error('disk')))).rejects.toThrow('disk');
  await write(1);
  expect(measured).toBe(2);
  await expect(write(7)).rejects.toMatchObject({ code: 'payload_too_large' });
  expect(measured).toBe(3);
});
