/** Until when work that waits for the database must have ended, retries included. */
export interface Deadline {
  readonly totalMs: number;
  /** 0 when it has passed. */
  leftMs(): number;
}

export function deadlineIn(totalMs: number): Deadline {
  const endsAt = performance.now() + totalMs;
  return { totalMs, leftMs: () => Math.max(0, endsAt - performance.now()) };
}
