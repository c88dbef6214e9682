/** Names of what differs in table definitions. `text` sorts by bytes in both databases, which cursors rely on. */
export interface MigrationTypes {
  readonly text: string;
  /** Follows a table definition: rows are kept in the order of the primary key. */
  readonly clustered: string;
  /** The whole number at a key of a column of JSON text, 0 where there is none. */
  readonly numberIn: (column: string, key: string) => string;
  /** The UTC day, such as `2026-11-22`, of a column of milliseconds since 1970. */
  readonly dayOf: (column: string) => string;
}

export interface Migration {
  readonly version: number;
  readonly name: string;
  /** Statements valid in both databases. A released migration is never edited. */
  statements(types: MigrationTypes): readonly string[];
}
