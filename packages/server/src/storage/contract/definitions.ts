import type { DefinitionKind } from '@nexus-agent/protocol';

export interface DefinitionFile {
  readonly name: string;
  readonly text: string;
}

/** A version of the operator's definitions of a kind. Versions count up from 1; the highest is the active one. */
export interface DefinitionHead {
  readonly kind: DefinitionKind;
  readonly version: number;
  /** Hash of the files: equal files are recognised, in whatever version. */
  readonly fingerprint: string;
  /** Where it was imported from, for people. */
  readonly origin: string;
  readonly importedAt: number;
}

export interface DefinitionImport extends Pick<DefinitionHead, 'kind' | 'fingerprint' | 'origin' | 'importedAt'> {
  readonly files: readonly DefinitionFile[];
  /**
   * What becomes of files that have been active before: they become so again if the active version is this one, or always.
   * Null: never. Files that have not been seen before are imported in any case.
   */
  readonly again: number | 'always' | null;
}

/** `same`: they are the active version. `known`: they are the named earlier version, and stay that. */
export type DefinitionImportResult =
  | { readonly type: 'imported' | 'same'; readonly head: DefinitionHead }
  | { readonly type: 'known'; readonly head: DefinitionHead; readonly version: number };

/** A process on this database, as it last said. */
export interface NodeRow {
  readonly nodeId: string;
  readonly name: string;
  readonly status: unknown;
  readonly seenAt: number;
}

/** What all nodes on a database decide by. */
export interface DefinitionStore {
  /** The active version of each kind that has one, without its files. */
  definitionHeads(): Promise<readonly DefinitionHead[]>;
  /** The newest version that had these files, active or not. */
  findDefinitions(kind: DefinitionKind, fingerprint: string): Promise<DefinitionHead | null>;
  /** Null when there is no such version, or its files are no longer kept: those of the last 50 are. */
  definitionFiles(kind: DefinitionKind, version: number): Promise<readonly DefinitionFile[] | null>;
  importDefinitions(request: DefinitionImport): Promise<DefinitionImportResult>;
  /** Writes what the node says of itself, and forgets those that have said nothing since. */
  reportNode(row: NodeRow, forgetBefore: number): Promise<void>;
  forgetNode(nodeId: string): Promise<void>;
  /** Sorted by name. */
  listNodes(seenSince: number): Promise<readonly NodeRow[]>;
}
