import { z } from 'zod';

/** A page of a list; ask for the next one with `?cursor=<nextCursor>`. */
export function page<T extends z.ZodType>(item: T) {
  return z.object({ data: z.array(item), nextCursor: z.string().nullable() });
}
export type Page<T> = { data: T[]; nextCursor: string | null };
