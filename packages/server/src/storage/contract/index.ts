/** The door of what storage promises: a small port for each of its users, and all of them as one store. */
export type { ApprovalAnswerResult, ApprovalRow, GivenAnswer } from './approvals.ts';
export type { ArtifactRow, ArtifactStore } from './artifacts.ts';
export type { DecisionRow } from './audit.ts';
export type { Blob, BlobDriver, BlobStore, BlobTable, ContentTable } from './blobs.ts';
export type { AgentStore, AgentVersionRow } from './catalogue.ts';
export type { Commit, CommitResult, CommitStore, IdempotencyClaim, Placed, PlaceInLog } from './commit.ts';
export type {
  DefinitionFile,
  DefinitionHead,
  DefinitionImport,
  DefinitionImportResult,
  DefinitionStore,
  NodeRow,
} from './definitions.ts';
export type { FileChange, FileContent, FileRange, FileRow, FileStore, FilesCommit, FilesCopy, FileTree } from './files.ts';
export type { IdentityStore, KeyRow, KeySecretRow, KeySecretsResult, MissingKeySecret } from './identity.ts';
export type { BudgetFilter, LedgerStore, UsageQuery, UsageSum } from './ledger.ts';
export type { McpGrantRow, McpGrantSlot, McpGrantStore } from './mcp-grants.ts';
export type { BudgetUse, Measures, PoolState } from './measures.ts';
export type { PageOf, PageRequest } from './pages.ts';
export type { ClaimedRun, Queue, SignOfLife } from './queue.ts';
export { type ArtifactQuotas, type QuotaKind, type Quotas, requireQuota, type TenantQuotas, type TreeQuotas, unlimited } from './quotas.ts';
export type { Aged, AgingKind, Removal, RetentionStore } from './retention.ts';
export type { RunPatch, RunRow, RunStore, SessionRow, SizedEvent, StoredEvent, Waiting } from './runs.ts';
export type { Store } from './store.ts';
export type { HeldCall, ToolCallStore, ToolWorkerRow, WorkerCallRow, WorkerCallState } from './tool-calls.ts';
export type { ToolSourceHead, ToolSourceKind, ToolSourceRow, ToolSourceStore } from './tool-sources.ts';
