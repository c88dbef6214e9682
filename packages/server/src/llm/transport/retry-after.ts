/** The wait that `retry-after-ms` or `retry-after` (seconds or an HTTP date) asks for. */
export function readRetryAfterMs(header: (name: string) => string | undefined, nowMs: number): number | undefined {
  const ms = amount(header('retry-after-ms'));
  if (ms !== undefined) return Math.ceil(ms);
  const value = header('retry-after');
  const seconds = amount(value);
  if (seconds !== undefined) return Math.ceil(seconds * 1_000);
  // Only what names a month is a date: others are read as one, too, such as "5, 10".
  const date = value !== undefined && /[a-z]{3}/i.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

/** A number that is not negative, the first where a proxy has joined several; undefined for anything else. */
function amount(text: string | undefined): number | undefined {
  const [, number] = /^\s*\+?(\d+(?:\.\d+)?)\s*s?\s*(?:,|$)/.exec(text ?? '') ?? [];
  return number === undefined ? undefined : Number(number);
}
