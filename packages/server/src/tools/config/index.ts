/** The slice of the configuration that the tools own. */
import { z } from 'zod';
import { durationMs, group, httpUrl, setting } from '#core';
import { jailConfig } from './jail.ts';

const mebibyte = 1024 * 1024;
const bytes = () =>
  z
    .int()
    .min(0)
    .max(1024 ** 4);

/** A file with PEM text. */
const pemFile = () => z.string().min(1).optional();
const messageBytes = () =>
  z
    .int()
    .min(1024)
    .max(1024 * mebibyte)
    .default(16 * mebibyte);
const keepaliveMs = () => durationMs().min(1_000).default(30_000);
const token = () =>
  z
    .string()
    .regex(/^[\x21-\x7e]{16,1000}$/, { error: 'expected 16 to 1000 characters without a space' })
    .optional();

const toolLimits = z.strictObject({
  concurrency: z.int().min(1).max(100_000).optional(),
  queueMs: durationMs().min(1).optional(),
  maxQueued: z.int().min(0).max(100_000).optional(),
  timeoutMs: durationMs().min(1).optional(),
  breaker: z
    .union([
      z.literal(false),
      z.strictObject({
        failures: z.int().min(1).max(1_000).optional(),
        windowMs: durationMs().min(1).optional(),
        openMs: durationMs().min(1).optional(),
      }),
    ])
    .optional(),
});

export const toolsConfig = {
  grpc: group({
    host: setting(
      z.string().min(1).default('127.0.0.1'),
      'Address that `nexus serve --role agent-core` binds. Any other than loopback needs `grpc.token` or `grpc.tls.clientCa`.',
      { environment: 'NEXUS_GRPC_HOST' },
    ),
    port: setting(z.int().min(0).max(65_535).default(8090), 'Its port; 0 takes a free one.', { environment: 'NEXUS_GRPC_PORT' }),
    token: setting(token(), 'What callers of the agent core must present.', {
      environment: 'NEXUS_GRPC_TOKEN',
      secret: true,
      otherwise: 'one that is kept in `dataDir`, unless callers have certificates',
    }),
    tls: group({
      cert: setting(pemFile(), 'File (PEM) with the certificate of the agent core, and those between it and its authority.'),
      key: setting(pemFile(), 'File (PEM) with its key.'),
      clientCa: setting(pemFile(), 'File (PEM) with the authority of callers: without a certificate of it nobody connects.'),
    }),
    maxCalls: setting(z.int().min(1).max(100_000).default(256), 'Calls under way at once; more are refused with `rate_limited`.'),
    maxConnections: setting(z.int().min(1).max(100_000).default(200), 'Connections at once; more are closed at once.'),
    maxMessageBytes: setting(messageBytes(), 'Largest message, of a call and of what it gives.'),
    unreadMs: setting(
      durationMs().min(100).default(30_000),
      'A caller that takes nothing of what its call says for so long is disconnected, and the call cancelled.',
    ),
    keepaliveMs: setting(keepaliveMs(), 'How often a silent connection is tried; one that does not answer within 20 s is closed.'),
    metrics: group({
      host: setting(
        z.string().min(1).default('127.0.0.1'),
        'Address at which the agent core tells its health and metrics over HTTP. Any other than loopback needs a token or `grpc.tls.clientCa`.',
        { environment: 'NEXUS_GRPC_METRICS_HOST' },
      ),
      port: setting(z.int().min(0).max(65_535).optional(), 'Its port; 0 takes a free one.', {
        environment: 'NEXUS_GRPC_METRICS_PORT',
        otherwise: 'the one after `grpc.port`; a free one where that is 0',
      }),
      token: setting(token(), 'What readers of the metrics must present, so that they need no token that runs tools.', {
        environment: 'NEXUS_GRPC_METRICS_TOKEN',
        secret: true,
        otherwise: 'that of callers',
      }),
    }),
  }),
  tools: group({
    remote: group({
      address: setting(
        z
          .string()
          .regex(/^([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}$/, { error: 'expected host:port, such as 127.0.0.1:8090' })
          .optional(),
        'The agent core that runs the tools instead of this process, as `host:port`.',
        { environment: 'NEXUS_TOOLS_REMOTE' },
      ),
      token: setting(token(), 'Its token.', {
        environment: 'NEXUS_TOOLS_REMOTE_TOKEN',
        secret: true,
        otherwise: 'that in `dataDir`, where the address is loopback and there is no certificate',
      }),
      tls: group({
        ca: setting(pemFile(), 'File (PEM) with the authority of its certificate. Naming it, or `cert`, turns TLS on.'),
        cert: setting(pemFile(), 'File (PEM) with the certificate that this process presents.'),
        key: setting(pemFile(), 'File (PEM) with its key.'),
        serverName: setting(z.string().min(1).optional(), 'The name in its certificate, where that is not the host of the address.'),
      }),
      connectTimeoutMs: setting(durationMs().min(1).default(5_000), 'How long a call waits for it to be reached.'),
      maxMessageBytes: setting(messageBytes(), 'Largest message, as `grpc.maxMessageBytes` of the agent core.'),
      keepaliveMs: setting(keepaliveMs(), 'How often a silent connection is tried; one that does not answer within 20 s is lost.'),
    }),
    maxOutputChars: setting(
      z.int().min(1000).max(10_000_000).default(50_000),
      'Most characters of one result that reach the model, the note about a cut included. What is longer is kept as an artifact.',
    ),
    maxProgressChars: setting(z.int().min(0).max(100_000_000).default(200_000), 'Most characters of progress that one call may send.'),
    graceMs: setting(durationMs().default(1_000), 'How long a tool may take to stop after it was told to.'),
    limits: setting(
      z
        .record(
          z.string().regex(/^[A-Za-z0-9_.*-]{1,64}$/, { error: 'expected the name of a tool, or a pattern such as http_*' }),
          toolLimits,
        )
        .default({}),
      'Limits of tools by name or pattern, `{ concurrency, queueMs, maxQueued, timeoutMs, breaker: { failures, windowMs, openMs } }`, each of which may be left out; `breaker: false` turns it off. Of the patterns that fit a name the one with the most characters besides `*` says each value. Unless they say otherwise, 256 calls of a tool are under way in a process, 10,000 wait for at most 30,000 ms, and after 5 failures in a row within 600,000 ms a tool is left alone for 30,000 ms.',
    ),
    artifacts: group({
      maxBytes: setting(
        bytes().default(16 * mebibyte),
        'Most bytes that are kept of one result that is longer than `tools.maxOutputChars`; with 0 nothing is kept beside what the model reads.',
      ),
      maxCount: setting(z.int().min(0).max(1_000_000).default(1_000), 'Most results that are kept in one session.'),
      maxSessionBytes: setting(bytes().default(256 * mebibyte), 'Most bytes that they have together.'),
    }),
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
          hosts: setting(
            z.array(z.string().min(1).max(260)).min(1).max(100),
            'Where to, as `api.example.com`, `*.example.com:8443` or `[2001:db8::5]:8443`.',
          ),
        }),
      )
      .default([]),
    'Which of `secrets` definitions of other tenants may name, and where each may be sent then.',
  ),
  secretHeaders: setting(
    z
      .array(
        z.strictObject({
          secret: setting(z.string().min(1).max(100), 'Its name, in `secrets`.'),
          hosts: setting(
            z.array(z.string().min(1).max(260)).min(1).max(100),
            'Where to: `api.example.com` for port 443, `*.example.com:8443` or `[2001:db8::5]:8443` for another; also `localhost:8080`, the one place without TLS.',
          ),
          header: setting(
            z
              .string()
              .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/)
              .default('authorization'),
            'The header that it goes in.',
          ),
          form: setting(
            z
              .string()
              .max(200)
              .regex(/^[\x20-\x7e]*\{\}[\x20-\x7e]*$/, { error: 'expected a text with {} where the secret stands, such as Bearer {}' })
              .default('Bearer {}'),
            'What the header says, with `{}` for the secret.',
          ),
          tenants: setting(z.array(z.string().min(1)).min(1).default(['default']), 'Whose calls may name it.'),
        }),
      )
      .default([]),
    'Which of `secrets` calls of `http_fetch`, `http_request` and `shell` may name, for which hosts; policy is asked besides, for each (`secret.use`).',
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
    maxCalls: setting(z.int().min(0).max(10_000).default(100), 'Most calls of tools that one run of code may make.'),
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
    jail: jailConfig,
  }),
  plugins: group({
    trustedKeys: setting(
      z.array(z.string().regex(/^[A-Za-z0-9+/]{43}=$/, { error: 'expected a public key as nexus plugin keygen prints it' })).default([]),
      'Public keys whose plugins may be installed; others only by whoever says so each time.',
      { environment: 'NEXUS_PLUGINS_TRUSTED_KEYS' },
    ),
    programs: group({
      tenants: setting(
        z.array(z.string().min(1)).default([]),
        'Whose plugins may be programs (tier T2), each in a jail without network, within the limits of `mcpClient.stdio`.',
      ),
    }),
    fuel: setting(
      z.int().min(1).max(Number.MAX_SAFE_INTEGER).default(5_000_000_000),
      'Most that one call of a plugin may compute, in instructions of WebAssembly.',
    ),
    wallMs: setting(
      durationMs().min(1).default(15_000),
      'Time that one call of a plugin may compute; what it waits for files and pages is not part of it.',
    ),
    memoryBytes: setting(
      bytes()
        .min(mebibyte)
        .max(2048 * mebibyte)
        .default(64 * mebibyte),
      'Memory of one call of a plugin.',
    ),
    maxOutputBytes: setting(bytes().default(mebibyte), 'Most bytes that one call of a plugin may print.'),
  }),
  mcpClient: group({
    allowPrivate: setting(
      z.array(z.string().min(1)).default([]),
      'Private hosts, `host:port`, addresses or ranges such as `10.1.0.0/16` that MCP servers may be at; `http_fetch` may not go there for it.',
    ),
    secrets: setting(
      z
        .array(
          z.strictObject({
            name: setting(
              z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: 'expected 1 to 64 of the characters A-Z a-z 0-9 _ . -' }),
              'What a header of an MCP server says for it: `{ secret: NAME }`.',
            ),
            value: setting(z.string().min(1).max(8_000), 'The whole value of the header, such as `Bearer …`.', { secret: true }),
            hosts: setting(
              z.array(z.string().min(1)).min(1),
              'The hosts that it is sent to, and no others; `stdio` for programs that are given it in their environment.',
            ),
            tenants: setting(z.array(z.string().min(1)).min(1).default(['default']), 'Whose MCP servers may be sent it.'),
          }),
        )
        .default([]),
      'What MCP servers are shown of us, by name.',
    ),
    oauth: group({
      key: setting(
        z.string().min(32, { error: 'expected at least 32 characters' }).max(1_000).optional(),
        'What tokens of MCP servers are sealed with in the database: the same for all processes. Left out, a process with the embedded database makes a key file in `dataDir`; with Postgres, servers with OAuth are refused.',
        { secret: true },
      ),
      publicUrl: setting(
        httpUrl().optional(),
        'Where browsers of people reach this server, such as `https://nexus.example.com`: they come back there from a login. Left out, logins work on this machine only.',
      ),
      loginMs: setting(durationMs().min(1_000).max(3_600_000).default(600_000), 'How long a person may take to log in to an MCP server.'),
    }),
    connectTimeoutMs: setting(
      durationMs().min(100).default(15_000),
      'Longest time that connecting to an MCP server and listing its tools take.',
    ),
    answerTimeoutMs: setting(durationMs().min(100).default(300_000), 'Longest silence of an MCP server before an answer begins.'),
    stdio: group({
      mode: setting(
        z.enum(['off', 'jailed']).default('jailed'),
        'Whether MCP servers may be programs that this server starts, each in a jail without network.',
      ),
      tenants: setting(z.array(z.string().min(1)).default(['default']), 'Whose MCP servers may be programs.'),
      readOnly: setting(
        z.array(z.string().regex(/^\//)).default([]),
        'Folders of this machine of which such a program may be given something to read, by its definition.',
      ),
      memoryBytes: setting(
        bytes()
          .min(16 * mebibyte)
          .default(1024 * mebibyte),
        'Memory that the processes of one such program may take together.',
      ),
      cpuMs: setting(durationMs().min(1_000).default(600_000), 'Processor time that they may take together before it is started anew.'),
      processes: setting(z.int().min(4).max(100_000).default(64), 'Processes and threads of one at a time.'),
    }),
    idleMs: setting(durationMs().min(100).default(300_000), 'A connection that nothing used for so long is closed.'),
    maxConnections: setting(z.int().min(1).max(100_000).default(500), 'Connections to MCP servers of one process at a time.'),
    maxTenantConnections: setting(z.int().min(1).max(100_000).default(50), 'Those of one tenant.'),
    maxTools: setting(z.int().min(1).max(5_000).default(500), 'Most tools of one MCP server.'),
    maxResponseBytes: setting(bytes().default(4 * mebibyte), 'Most bytes of one answer of an MCP server; of a stream all together.'),
    maxResponseValues: setting(
      z.int().min(1_000).max(10_000_000).default(50_000),
      'Most items, members, lists and objects in them, a line of a stream counting five.',
    ),
  }),
};
