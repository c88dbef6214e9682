/** The slice of the configuration that the tools own. */
import { z } from 'zod';
import { durationMs, group, setting } from '#core';

const mebibyte = 1024 * 1024;
const bytes = () =>
  z
    .int()
    .min(0)
    .max(1024 ** 4);

export const toolsConfig = {
  tools: group({
    maxOutputChars: setting(
      z.int().min(1000).max(10_000_000).default(50_000),
      'Most characters of one result that reach the model, the note about a cut included.',
    ),
    maxProgressChars: setting(z.int().min(0).max(100_000_000).default(200_000), 'Most characters of progress that one call may send.'),
    graceMs: setting(durationMs().default(1_000), 'How long a tool may take to stop after it was told to.'),
  }),
  workspaceSeed: setting(z.string().min(1).optional(), 'Folder whose content each new session’s folder starts with.', {
    environment: 'NEXUS_WORKSPACE_SEED',
  }),
  workspace: group({
    maxBytes: setting(bytes().default(1024 * mebibyte), 'Most bytes that a session’s folder may hold for a write to be accepted.'),
    maxFiles: setting(z.int().min(1).max(10_000_000).default(20_000), 'Most files of a session’s folder.'),
    maxFileBytes: setting(bytes().default(16 * mebibyte), 'Largest file that one write may make.'),
    maxVisited: setting(z.int().min(1).max(10_000_000).default(20_000), 'Most entries that one listing or search visits.'),
    maxSeedBytes: setting(bytes().default(256 * mebibyte), 'Most bytes that `workspaceSeed` may hold.'),
    maxSeedFiles: setting(z.int().min(1).max(10_000_000).default(10_000), 'Most files that `workspaceSeed` may hold.'),
  }),
  httpFetch: group({
    allowPrivate: setting(
      z.array(z.string().min(1)).default([]),
      'Private hosts, `host:port`, addresses or ranges such as `10.1.0.0/16` that `http_fetch` may reach.',
    ),
    connectTimeoutMs: setting(durationMs().min(1).default(10_000), 'Longest wait for a connection.'),
    idleTimeoutMs: setting(durationMs().min(1).default(15_000), 'Longest silence of a server, before and within its answer.'),
    maxBodyBytes: setting(bytes().default(mebibyte), 'Bytes of a body that are read, after decompression.'),
  }),
  sandbox: group({
    fuel: setting(
      z.int().min(1).max(10_000_000).default(5_000),
      'How much one run of code may compute; a unit is about 10,000 loop turns or calls.',
    ),
    wallMs: setting(durationMs().min(1).default(15_000), 'Time that one run of code may take.'),
    memoryBytes: setting(
      bytes()
        .min(4 * mebibyte)
        .max(2048 * mebibyte)
        .default(64 * mebibyte),
      'Memory of one run of code.',
    ),
    maxOutputChars: setting(z.int().min(0).max(10_000_000).default(50_000), 'Most characters that one run of code may print.'),
    maxThreads: setting(z.int().min(1).max(256).optional(), 'Threads that run code.', { otherwise: 'the cores of the machine, at most 2' }),
    maxQueued: setting(z.int().min(0).max(100_000).default(64), 'Most runs of code that wait for a thread; more are refused.'),
    idleMs: setting(durationMs().default(30_000), 'A thread that had nothing to do for so long ends.'),
  }),
};
