/** What the streams of a process may take, and how long they wait; every one has a default in the configuration. */
export interface StreamSettings {
  /** Least time between two batches for one reader. Deltas of so long are sent together; the first of a call goes at once. */
  readonly coalesceMs: number;
  /** A batch takes no further event once it has this many characters. */
  readonly batchChars: number;
  /** Most events that are read from the log at a time. */
  readonly pageEvents: number;
  /** The newest events of a run that are kept for readers who are almost there: at most so many, and so many characters of them. */
  readonly tailEvents: number;
  readonly tailChars: number;
  /** Characters of what tools say that are kept of each run; the newest message is kept whatever its length. */
  readonly outputChars: number;
  /** How long a reader waits for news before it looks into the log: when its run is driven here, elsewhere within reach of a bus, or without one. */
  readonly localPollMs: number;
  readonly busPollMs: number;
  readonly logPollMs: number;
  /** How long the interest of a reader in another process lasts after it was announced; it is announced three times as often. */
  readonly interestMs: number;
}
