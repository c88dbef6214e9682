import { z } from 'zod';

/** Names of agents, tools and routes. */
export const Name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, { error: 'expected a lower-case name of at most 63 letters, digits, - or _' });

/** Names of tools that a tenant brings. */
export const ToolName = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: 'expected 1 to 64 of the characters A-Z a-z 0-9 _ . -' });

/** Before `_` these say that a tool is ours: patterns such as `fs_*` mean none of anybody else. */
const ownPrefixes: ReadonlySet<string> = new Set(['agent', 'artifact', 'ask', 'code', 'file', 'fs', 'http', 'mcp', 'memory']);

/** Why nobody may bring a tool of this name; null where they may. */
export function reservedName(name: string): string | null {
  const [, prefix = ''] = /^([a-z]+)[_.-]/i.exec(name) ?? [];
  if (!ownPrefixes.has(prefix.toLowerCase())) return null;
  const whose = prefix === 'agent' ? 'call agents' : 'are kept for tools of the server itself';
  return `names with ${prefix}_ ${whose}; take another`;
}

/** A model reference: `provider/model`, or a bare model that a configured provider serves. */
export const ModelRef = z.string().min(1).max(200);

/** A user or a project, whose limits hold for what is done for them. `*` stands for every user and names nobody. */
export const Payer = z
  .string()
  .min(1)
  .max(100)
  .refine((name) => name !== '*', { error: 'expected a name; * stands for every user' });

/** Any object, whose members are checked by somebody else: they may be many, and to look at each here takes longer than to parse it. */
export const AnyObject = z
  .custom<Record<string, unknown>>((value) => typeof value === 'object' && value !== null && !Array.isArray(value), {
    error: 'expected an object',
  })
  .meta({ type: 'object', additionalProperties: {} });
