import type { ApprovalStore } from './approvals.ts';
import type { ArtifactStore } from './artifacts.ts';
import type { AuditStore } from './audit.ts';
import type { BlobTable, ContentTable } from './blobs.ts';
import type { AgentStore } from './catalogue.ts';
import type { CommitStore } from './commit.ts';
import type { DefinitionStore } from './definitions.ts';
import type { FileStore } from './files.ts';
import type { IdentityStore } from './identity.ts';
import type { LedgerStore } from './ledger.ts';
import type { McpGrantStore } from './mcp-grants.ts';
import type { MeasureStore } from './measures.ts';
import type { Queue } from './queue.ts';
import type { RetentionStore } from './retention.ts';
import type { RunStore } from './runs.ts';
import type { ToolCallStore } from './tool-calls.ts';
import type { ToolSourceStore } from './tool-sources.ts';

/**
 * Everything that is kept. One contract, two drivers (`node:sqlite`, Postgres), one conformance suite. Each method may
 * throw `storage_unavailable` (retryable); a commit that threw may or may not have happened, which is why reserves,
 * creations and settlements carry ids and appends carry `lastSeq`.
 */
export type Store = CommitStore &
  RunStore &
  Queue &
  LedgerStore &
  ApprovalStore &
  AuditStore &
  ArtifactStore &
  AgentStore &
  RetentionStore &
  MeasureStore &
  DefinitionStore &
  FileStore &
  BlobTable &
  ContentTable &
  ToolSourceStore &
  McpGrantStore &
  ToolCallStore &
  IdentityStore & {
    readonly dialect: 'sqlite' | 'postgres';
    /** Milliseconds since 1970 by the clock that all processes on this database share. */
    now(): Promise<number>;
    /** Asks nothing of the database any more: what waits for it fails at once with `storage_unavailable`, and so does what comes. */
    giveUp(): void;
    close(): Promise<void>;
  };
