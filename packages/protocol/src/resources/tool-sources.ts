import { z } from 'zod';

/** Something that tools come from, as lists show it. */
export const ToolSourceInfo = z
  .object({
    kind: z.enum(['http', 'mcp', 'plugin', 'worker']),
    name: z.string(),
    version: z.string().describe('A hash of what was put'),
    createdAt: z.string(),
    tools: z.int().optional().describe('How many there are, where that is known'),
    warnings: z.array(z.string()).optional().describe('What was put and will not work as it is'),
  })
  .meta({ id: 'ToolSourceInfo' });
export type ToolSourceInfo = z.infer<typeof ToolSourceInfo>;

/** The same with what was put. */
export type StoredToolSource<Definition> = ToolSourceInfo & { readonly definition: Definition };

export function toolSource<Definition extends z.ZodType>(definition: Definition) {
  return ToolSourceInfo.omit({}).extend({ definition });
}
