import type { Program } from './program.ts';

/** Runs programs on a database. A program may be started several times: it has no effect outside the database. */
export interface Driver {
  readonly dialect: 'sqlite' | 'postgres';
  /** Without a transaction. */
  read<R>(start: () => Program<R>): Promise<R>;
  /** In one transaction; resolves after COMMIT. */
  write<R>(start: () => Program<R>): Promise<R>;
  close(): Promise<void>;
}
