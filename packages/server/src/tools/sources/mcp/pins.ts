import { z } from 'zod';
import { canonicalJson, sha256 } from '#core';

/** A tool as a server lists it: all that a model, or we, go by. What else a server says of it counts for nothing. */
export const ListedTool = z.object({
  name: z.string().min(1),
  title: z.string().optional(),
  description: z.string().optional(),
  inputSchema: z.record(z.string(), z.unknown()),
  outputSchema: z.record(z.string(), z.unknown()).optional(),
  annotations: z
    .object({
      title: z.string().optional(),
      readOnlyHint: z.boolean().optional(),
      destructiveHint: z.boolean().optional(),
      idempotentHint: z.boolean().optional(),
      openWorldHint: z.boolean().optional(),
    })
    .optional(),
});
export type ListedTool = z.infer<typeof ListedTool>;

/** How what a server lists differs from what was approved, for one tool. */
export const Difference = z.object({ tool: z.string(), state: z.enum(['changed', 'new', 'gone']) });
export type Difference = z.infer<typeof Difference>;

/** Of all that was approved of a tool. */
export function hashOf(tool: ListedTool): string {
  return sha256(canonicalJson(tool));
}

/** Of a whole list, in whatever order it came. */
export function fingerprintOf(tools: readonly ListedTool[]): string {
  return sha256(tools.map(hashOf).sort().join('\n')).slice(0, 16);
}

/** By name; of two with one name the first counts. */
export function hashesOf(tools: readonly ListedTool[]): ReadonlyMap<string, string> {
  const hashes = new Map<string, string>();
  for (const tool of tools) if (!hashes.has(tool.name)) hashes.set(tool.name, hashOf(tool));
  return hashes;
}

/** In the order of the names. */
export function differences(pinned: readonly ListedTool[], listed: readonly ListedTool[]): Difference[] {
  const before = hashesOf(pinned);
  const now = hashesOf(listed);
  const names = [...new Set([...before.keys(), ...now.keys()])].sort();
  return names.flatMap((tool): Difference[] => {
    const [was, is] = [before.get(tool), now.get(tool)];
    if (was === is) return [];
    return [{ tool, state: was === undefined ? 'new' : is === undefined ? 'gone' : 'changed' }];
  });
}
