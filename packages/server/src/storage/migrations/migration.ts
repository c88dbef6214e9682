/** Names of what differs in table definitions. `text` sorts by bytes in both databases, which cursors rely on. */
export interface MigrationTypes {
  readonly text: string;
  /** Follows a table definition: rows are kept in the order of the primary key. */
  readonly clustered: string;
}

export interface Migration {
  readonly version: number;
  readonly name: string;
  /** Statements valid in both databases. A released migration is never edited. */
  statements(types: MigrationTypes): readonly string[];
}
