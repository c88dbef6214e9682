/** The slice of the configuration that the tools own. */
import { z } from 'zod';
import { durationMs, group, httpUrl, setting } from '#core';

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
    workers: group({
      leaseMs: setting(
        durationMs().min(1_000).max(3_600_000).default(30_000),
        'A call that a worker did not report for so long is given to another one, or put to a person where its effects forbid that.',
      ),
    }),
    files: group({
      store: setting(
        z.enum(['folder', 'database', 's3']).optional(),
        'Where the contents of session files are kept: a folder of this machine, the database itself, or an S3-compatible server.',
        { environment: 'NEXUS_FILES_STORE', otherwise: '`database` with Postgres, else `folder`' },
      ),
      folder: setting(z.string().min(1).optional(), 'The folder for `folder`.', { otherwise: '`blobs` in `dataDir`' }),
      keepFreeBytes: setting(
        bytes().optional(),
        'Bytes that session files leave free on their disk, for the database and for what else is on it.',
        {
          otherwise: '512 MiB, or a tenth of the disk where that is less',
        },
      ),
      maxChanged: setting(z.int().min(1).max(100_000).default(1_000), 'Most files that one tool call may change.'),
      idleMs: setting(
        durationMs().min(1_000).default(600_000),
        'The folder of a session that no tool used for so long is removed from this machine; its files are kept, and brought back when one does.',
      ),
      database: group({
        maxBlobBytes: setting(bytes().default(16 * mebibyte), 'Largest file that `database` keeps.'),
        maxTenantBytes: setting(
          bytes().default(1024 * mebibyte),
          'Most bytes that `database` keeps for a tenant, older versions of files included.',
        ),
      }),
      s3: group({
        endpoint: setting(httpUrl().optional(), 'Address of the server for `s3`.', { environment: 'NEXUS_S3_ENDPOINT' }),
        region: setting(z.string().min(1).default('us-east-1'), 'Region that requests are signed for.', { environment: 'NEXUS_S3_REGION' }),
        bucket: setting(z.string().min(1).optional(), 'Bucket, which must exist.', { environment: 'NEXUS_S3_BUCKET' }),
        prefix: setting(z.string().default(''), 'Stands before the names of all objects.'),
        accessKeyId: setting(z.string().min(1).optional(), 'Key that requests are signed with.', { environment: 'NEXUS_S3_ACCESS_KEY_ID' }),
        secretAccessKey: setting(z.string().min(1).optional(), 'Its secret.', { environment: 'NEXUS_S3_SECRET_ACCESS_KEY', secret: true }),
        sessionToken: setting(z.string().min(1).optional(), 'Token of a temporary key.', {
          environment: 'NEXUS_S3_SESSION_TOKEN',
          secret: true,
        }),
        timeoutMs: setting(durationMs().min(100).default(10_000), 'Longest wait for a connection, for an answer, and within one.'),
      }),
    }),
  }),
  workspaceSeed: setting(z.string().min(1).optional(), 'Folder whose content each new session starts with.', {
    environment: 'NEXUS_WORKSPACE_SEED',
  }),
  workspace: group({
    maxBytes: setting(bytes().default(1024 * mebibyte), 'Most bytes that the files of a session may have for a write to be accepted.'),
    maxFiles: setting(z.int().min(1).max(10_000_000).default(20_000), 'Most files of a session.'),
    maxNames: setting(
      z.int().min(1).max(100_000_000).default(100_000),
      'Most names that the paths of all files of a session have together; a path counts one for each 100 characters where that is more.',
    ),
    maxFileBytes: setting(bytes().default(16 * mebibyte), 'Largest file of a session.'),
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
    maxFetches: setting(z.int().min(1).max(10_000).default(64), 'Fetches at a time; one session may make all of them.'),
    spareFetches: setting(z.int().min(1).max(10_000).default(32), 'Further ones, for tenants and sessions of which none is under way.'),
    maxWaiting: setting(
      z.int().min(0).max(100_000).default(10_000),
      'Most fetches that wait for their turn in one process, as a bound of its memory; more are refused with `rate_limited`. A tenant may have as many of them as there is room left.',
    ),
    maxWaitMs: setting(
      durationMs().min(1).default(15_000),
      'Longest wait of a fetch for its turn, within the 30 s that it may take; then it fails with `rate_limited`.',
    ),
  }),
  secrets: setting(
    z
      .record(
        z.string().regex(/^[A-Za-z][A-Za-z0-9_]{0,99}$/, { error: 'expected a name such as GITHUB_TOKEN' }),
        z.string().min(8).max(8_192),
      )
      .default({}),
    'Values that definitions of tools name as `secret:NAME`, each of 8 characters or more, as shorter ones could stand in any text. They are for the tenant `default`.',
    { secret: true },
  ),
  secretGrants: setting(
    z
      .array(
        z.strictObject({
          secret: setting(z.string().min(1).max(100), 'Its name.'),
          tenant: setting(z.string().min(1).max(100), 'Whose definitions may name it.'),
          hosts: setting(z.array(z.string().min(1).max(260)).min(1).max(100), 'Where to, as `api.example.com` or `*.example.com:8443`.'),
        }),
      )
      .default([]),
    'Which of `secrets` definitions of other tenants may name, and where each may be sent then.',
  ),
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
    maxThreads: setting(
      z.int().min(1).max(256).optional(),
      'Threads that run code, started as they are needed; one session may keep all of them busy.',
      {
        otherwise: 'the cores that the process may use, as the limits of its container have them',
      },
    ),
    spareThreads: setting(
      z.int().min(1).max(256).default(2),
      'Further threads, for tenants, sessions and runs of which no code runs: nobody waits behind what others compute.',
    ),
    maxQueued: setting(
      z.int().min(0).max(100_000).default(10_000),
      'Most runs of code that wait for a thread in one process, as a bound of its memory; more are refused with `rate_limited`. A tenant may have as many of them as there is room left.',
    ),
    maxWaitMs: setting(
      durationMs().min(1).default(30_000),
      'Longest wait of a run of code for a thread, also within what its call may take; then it fails with `rate_limited`. It is no part of `wallMs`.',
    ),
    idleMs: setting(durationMs().default(30_000), 'A thread that had nothing to do for so long ends.'),
  }),
};
