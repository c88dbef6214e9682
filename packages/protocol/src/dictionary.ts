/**
 * An object that is read or written by names that come from outside: it has what was put into it and nothing else. A plain object also
 * has `constructor`, `toString` and what else every object inherits, and `__proto__` written to it replaces all of that.
 */
export function dictionary<T extends object>(entries: T): T {
  return Object.assign(Object.create(null), entries);
}
