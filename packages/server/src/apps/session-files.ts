import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { NexusConfig } from '#apps/config';
import { type Clock, NexusError, type Timers } from '#core';
import type { BlobDriver, BlobStore, Store } from '#storage';
import { createDatabaseBlobs, createKeptBlobs, createS3Blobs, type KeptBlobs, openFolderBlobs } from '#storage/blobs';
import type { Logger } from '#telemetry';
import { createWorkspaces, openSessionFiles, type SessionFiles, type Workspaces } from '#tools';
import { isFolder } from './data-folder.ts';
import { createSpaceKeepers, type RequireSpace, type SpaceKeeper, type SpaceKeepers } from './space-keeper.ts';

export interface FileParts {
  readonly config: NexusConfig;
  readonly store: Store;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
}

export type FileStoreKind = BlobStore['kind'];

/** Where the contents of files are kept. */
export function fileStoreKind({ tools, databaseUrl }: NexusConfig): FileStoreKind {
  return tools.files.store ?? (databaseUrl?.startsWith('postgres') ? 'database' : 'folder');
}

export function folderOfBlobs({ tools, dataDir }: NexusConfig): string {
  return tools.files.folder ?? join(dataDir, 'blobs');
}

/** Throws `config_invalid` for what is missing. */
export function openS3Blobs(config: NexusConfig, time: Pick<FileParts, 'clock' | 'timers'>): BlobDriver {
  const { endpoint, bucket, accessKeyId, secretAccessKey, sessionToken, ...rest } = config.tools.files.s3;
  if (endpoint === undefined || bucket === undefined || accessKeyId === undefined || secretAccessKey === undefined) {
    const given = { endpoint, bucket, accessKeyId, secretAccessKey };
    const missing = Object.entries(given).flatMap(([key, value]) => (value === undefined ? [`tools.files.s3.${key}`] : []));
    throw new NexusError('config_invalid', `tools.files.store is s3, and there is no ${missing.join(', no ')}`);
  }
  const token = sessionToken === undefined ? {} : { sessionToken };
  return createS3Blobs({ ...rest, ...token, endpoint, bucket, accessKeyId, secretAccessKey, ...time });
}

/** What a content takes of the disk of the embedded database: as base64, there and in the log before it. */
const timesInDatabase = 3;

async function openBlobs(parts: FileParts, spaceOf: SpaceKeepers): Promise<BlobDriver> {
  const { config, store, clock, timers } = parts;
  switch (fileStoreKind(config)) {
    case 'folder': {
      const blobs = await openFolderBlobs(folderOfBlobs(config));
      return keptWithinSpace(blobs, await spaceOf(folderOfBlobs(config)), 1);
    }
    case 'database': {
      const blobs = createDatabaseBlobs({ table: store, ...config.tools.files.database });
      return config.databaseUrl === undefined ? keptWithinSpace(blobs, await spaceOf(config.dataDir), timesInDatabase) : blobs;
    }
    case 's3':
      return openS3Blobs(config, { clock, timers });
  }
}

function keptWithinSpace(blobs: BlobDriver, space: SpaceKeeper, times: number): BlobDriver {
  return {
    ...blobs,
    put: (blob, read, signal) =>
      space.writing(async (require) => {
        await require(blob.bytes * times);
        await blobs.put(blob, read, signal);
      }),
  };
}

/** How long a start waits to hear whether contents can be kept. */
const startCheckMs = 3_000;

const toldEveryMs = 60_000;

/** What is brought to this machine leaves the same room as what is kept on it. */
function withinSpace(workspaces: Workspaces, space: SpaceKeeper, { logger, clock }: Pick<FileParts, 'logger' | 'clock'>): Workspaces {
  let toldMs = Number.NEGATIVE_INFINITY;
  /** A process without room fails the call of each tool that needs a folder, and is quicker with that than the others. */
  const tell = (error: unknown) => {
    if (!(error instanceof NexusError) || error.details?.what !== 'disk' || clock.monotonic() - toldMs < toldEveryMs) return;
    toldMs = clock.monotonic();
    logger.warn({ err: error }, 'tools have no room in the data folder of this process, and their calls fail');
  };
  return {
    ...workspaces,
    write: (root, path, content, options) =>
      space
        .writing(async (require) => {
          if (content instanceof Uint8Array) {
            await require(content.byteLength);
            return workspaces.write(root, path, content, options);
          }
          await workspaces.write(root, path, required(content, require), options);
        })
        .catch((error: unknown) => {
          tell(error);
          throw error;
        }),
  };
}

async function* required(content: AsyncIterable<Uint8Array>, require: RequireSpace): AsyncGenerator<Uint8Array> {
  await require(0);
  for await (const piece of content) {
    await require(piece.byteLength);
    yield piece;
  }
}

/** A tool, or whoever fetches a file, is told what failed; so is the operator. */
function logged(blobs: KeptBlobs, logger: Logger): KeptBlobs {
  const tell = (error: unknown) => {
    if (error instanceof NexusError && (error.code === 'storage_unavailable' || error.details?.what === 'disk'))
      logger.warn({ store: blobs.kind, err: error }, 'the content of a file could not be kept or read');
  };
  return {
    ...blobs,
    async put(blob, read, signal, keepMs) {
      try {
        await blobs.put(blob, read, signal, keepMs);
      } catch (error) {
        tell(error);
        throw error;
      }
    },
    async *get(blob, signal) {
      try {
        yield* blobs.get(blob, signal);
      } catch (error) {
        tell(error);
        throw error;
      }
    },
  };
}

const dayMs = 86_400_000;

export interface OpenedFiles {
  readonly blobs: KeptBlobs;
  readonly workspaces: Workspaces;
  readonly folders: SessionFiles;
  /** Deletes what a version before this one kept of a session. */
  readonly removeFormer: (tenantId: string, sessionId: string) => Promise<void>;
  close(): Promise<void>;
}

/** The files of sessions as tools and the API need them. Says in the log what will not work as it may be meant to. */
export async function openFiles(parts: FileParts): Promise<OpenedFiles> {
  const { config, store, clock, timers, logger } = parts;
  const { maxBytes, maxFiles, maxFileBytes, maxVisited, maxSeedBytes, maxSeedFiles } = config.workspace;
  const { maxChanged, idleMs } = config.tools.files;
  const keepMs = config.retention.contentsDays * dayMs;
  const spaceOf = createSpaceKeepers({ keepFreeBytes: config.tools.files.keepFreeBytes, clock });
  const blobs = logged(createKeptBlobs({ driver: await openBlobs(parts, spaceOf), ...{ store, clock, timers, keepMs } }), logger);
  if (blobs.kind === 'folder' && config.databaseUrl?.startsWith('postgres'))
    logger.warn(
      {},
      'the files of sessions are kept in a folder of this machine, where other machines do not find them; see tools.files.store',
    );
  if (blobs.kind === 's3')
    await blobs
      .check(AbortSignal.timeout(startCheckMs))
      .catch((error: unknown) => logger.error({ err: error }, 'the files of sessions cannot be kept'));
  const root = join(config.dataDir, 'folders');
  const workspaces = withinSpace(createWorkspaces({ maxVisited }), await spaceOf(config.dataDir), parts);
  const formerFolder = (tenantId: string, sessionId: string) => join(config.dataDir, 'workspaces', tenantId, sessionId);
  const folders = await openSessionFiles({
    ...{ store, blobs, workspaces, idleMs, clock, timers },
    root,
    name: randomBytes(9).toString('hex'),
    limits: { maxBytes, maxFiles, maxFileBytes, maxChanged, maxSeedBytes, maxSeedFiles },
    seedOf: async (tenantId, sessionId) => {
      // Where versions before this one kept the files of a session, and nobody else does.
      const former = formerFolder(tenantId, sessionId);
      return (await isFolder(former)) ? former : config.workspaceSeed;
    },
    onError: (error) => logger.warn({ err: error }, 'a folder of session files could not be tidied up'),
  });
  return {
    ...{ blobs, workspaces, folders },
    removeFormer: (tenantId, sessionId) => rm(formerFolder(tenantId, sessionId), { recursive: true, force: true }),
    async close() {
      await folders.close();
      await blobs.close();
    },
  };
}
