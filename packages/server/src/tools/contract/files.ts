import type { FileChange } from '#storage';

/** What a write takes for granted. */
export interface WriteCondition {
  /**
   * The SHA-256 in hex of the content that is replaced; null: there is no such file. Throws `conflict` when something else stands there by
   * now, or another call is about to change it: what was made from the old content would undo what others did.
   */
  readonly replaces: string | null;
}

/** How a tool changes files of the session. What one call does to a path comes in the order in which it is asked for. */
export interface CallFiles {
  /**
   * The file will have this content once the call has ended well and its result is written; until then nobody sees it, the tool
   * itself included. Throws `path_not_allowed`, `tool_input_invalid` and `payload_too_large` with what would be right, and
   * `storage_unavailable` where contents cannot be kept.
   */
  write(path: string, content: Uint8Array, signal?: AbortSignal, condition?: WriteCondition): Promise<{ readonly created: boolean }>;
  /** There will be no such file. Throws what {@link CallFiles.write} throws, and `not_found`. */
  remove(path: string, signal?: AbortSignal): Promise<void>;
  /**
   * The content of `from` will be at `to`, and nothing at `from`. Throws what {@link CallFiles.write} throws, `not_found`, and `conflict` where
   * there is a file at `to` unless it may be replaced.
   */
  move(from: string, to: string, options: { readonly replace: boolean; readonly signal?: AbortSignal }): Promise<void>;
}

/** What a call did to the files of its session. Plain data: it is committed with the result. */
export interface FilesOfCall {
  readonly treeId: string;
  /** The version that the call was shown. */
  readonly version: number;
  readonly changes: readonly FileChange[];
}

export interface KeptFiles extends FilesOfCall {
  /** What the tool left that cannot be kept, for the model; empty if nothing. */
  readonly note: string;
}

/** The folder of a session's files for the time of one call. Exactly one of its endings is used, once. */
export interface CallFolder {
  readonly path: string;
  readonly files: CallFiles;
  /** The call ended well: keeps the contents of what it changed. Throws what {@link CallFiles.write} throws; then nothing is kept. */
  keep(signal: AbortSignal): Promise<KeptFiles>;
  /** The call failed: the files are as they were. */
  discard(): void;
  /** The tool still runs, though nobody waits for it any more: the folder is left to it, and never used again. */
  abandon(): void;
}

export interface FolderRequest {
  readonly tenantId: string;
  readonly sessionId: string;
  /** Whose files; the session's own when left out. */
  readonly filesOf?: string;
  /** The tool changes nothing in the folder, so that others may use it at the same time. */
  readonly shared: boolean;
  readonly mayWrite: boolean;
}

/** The files of sessions, as folders that tools can work in. */
export interface CallFolders {
  /** Brings the folder to what is committed by now. Throws `unavailable` and `storage_unavailable`. */
  open(request: FolderRequest, signal: AbortSignal): Promise<CallFolder>;
}
