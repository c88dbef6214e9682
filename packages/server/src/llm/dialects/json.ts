/** An object of the wire that nobody has checked: the members have the names of its type, and any value or none. */
export type Unread<Wire> = { readonly [Name in Wire extends unknown ? keyof Wire : never]?: unknown };

/** The value when it is an object and no list. */
export function asRecord<Wire = Record<string, unknown>>(value: unknown): Unread<Wire> | null {
  // Checked to be an object; its members are unknown, and may be missing.
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Unread<Wire>) : null;
}

export function asString(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** No call has so many tokens; what claims more is not a count, and its price would leave the range of exact sums. */
const maxTokenCount = 100_000_000;

/** A token count of a provider: a whole number of at least 0, or undefined when what was sent can be none. */
export function asCount(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 && value <= maxTokenCount ? Math.ceil(value) : undefined;
}
