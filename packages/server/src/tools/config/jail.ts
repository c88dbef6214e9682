import { z } from 'zod';
import { durationMs, group, setting } from '#core';

const mebibyte = 1024 * 1024;
const bytes = (least: number) =>
  z
    .int()
    .min(least)
    .max(1024 ** 4);

/** What one program may do through its proxy, to the hosts that policy allows it. */
const networkConfig = group({
  enabled: setting(z.boolean().default(true), 'Whether programs may ask for hosts at all; each is decided by policy then.'),
  connections: setting(z.int().min(1).max(1_000).default(32), 'Connections of one program at a time.'),
  totalConnections: setting(z.int().min(1).max(100_000).default(1_000), 'Connections of one program from its start to its end.'),
  bytesOut: setting(bytes(0).default(16 * mebibyte), 'Bytes that one program may send.'),
  bytesIn: setting(bytes(0).default(256 * mebibyte), 'Bytes that one program may receive.'),
  bytesPerSecond: setting(bytes(1_024).default(32 * mebibyte), 'How fast, both ways together.'),
  headerBytes: setting(z.int().min(1_024).max(mebibyte).default(16_384), 'Head of one request.'),
  idleMs: setting(durationMs().min(100).default(30_000), 'Longest silence of a connection.'),
  connectionMs: setting(durationMs().min(100).default(600_000), 'The longest that one connection lasts.'),
});

/** What jailed processes may take. */
export const jailConfig = group({
  driver: setting(
    z.enum(['bubblewrap', 'gvisor']).default('bubblewrap'),
    'What is the kernel of programs: with `bubblewrap` that of this machine (tier T2), with `gvisor` one of their own inside the same jail (T3), which takes some 200 ms more for each.',
  ),
  bubblewrap: setting(z.string().regex(/^\//).optional(), 'Path of bubblewrap, which builds the jails.', {
    otherwise: '`bwrap` in `/usr/bin`, `/usr/local/bin` or `/bin`',
  }),
  runsc: setting(z.string().regex(/^\//).optional(), 'Path of `runsc`, which is gVisor, for the driver `gvisor`.', {
    otherwise: '`runsc` in `/usr/bin` or `/usr/local/bin`',
  }),
  user: setting(
    z.int().min(1).max(4_294_967_293).default(65_534),
    'Where the server is root: number of the user and group that jailed processes are for this machine, and that the files of sessions then belong to.',
  ),
  readOnly: setting(
    z.array(z.string().regex(/^\//)).default([]),
    'Further files and folders of this machine that jailed processes may read, at the same place, such as `/opt/tools`; they see `/usr` and nothing else.',
  ),
  wallMs: setting(durationMs().min(1).default(60_000), 'Time that one program may take.'),
  cpuMs: setting(durationMs().min(100).default(60_000), 'Processor time that the processes of one program may take together.'),
  memoryBytes: setting(
    bytes(16 * mebibyte).default(512 * mebibyte),
    'Memory that the processes of one program may take together; each of them is refused more by the kernel, and all are looked at several times a second.',
  ),
  processes: setting(z.int().min(4).max(100_000).default(64), 'Processes and threads of one program at a time.'),
  files: setting(z.int().min(16).max(1_000_000).default(256), 'Open files of each process.'),
  fileBytes: setting(bytes(0).default(64 * mebibyte), 'Largest file that a program writes.'),
  tmpBytes: setting(bytes(mebibyte).default(64 * mebibyte), 'Size of `/tmp`, and of `/dev/shm`, which are in memory and empty each time.'),
  outputBytes: setting(bytes(1_000).default(mebibyte), 'Bytes that one program may print.'),
  network: networkConfig,
  maxJails: setting(z.int().min(1).max(1_000).default(4), 'Programs at a time; one session may have all of them.'),
  spareJails: setting(z.int().min(1).max(1_000).default(2), 'Further ones, for tenants, sessions and runs of which none runs.'),
  maxQueued: setting(
    z.int().min(0).max(100_000).default(1_000),
    'Most programs that wait for their turn in one process; more are refused with `rate_limited`.',
  ),
  maxWaitMs: setting(
    durationMs().min(1).default(30_000),
    'Longest wait of a program for its turn; then it fails with `rate_limited`. It is no part of `wallMs`.',
  ),
});
