import { z } from 'zod';

/** Names of agents, tools and routes. */
export const Name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, { error: 'expected a lower-case name of at most 63 letters, digits, - or _' });

/** Names of tools that a tenant brings. */
export const ToolName = z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: 'expected 1 to 64 of the characters A-Z a-z 0-9 _ . -' });

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
