/** The door of commits: how changes are decided and written, many in one transaction. */
export { type BatchResult, commitBatch } from './batch.ts';
export { createGroupCommit } from './group.ts';
