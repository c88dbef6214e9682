import { z } from 'zod';

/** Names of agents, tools and routes. */
export const Name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, { error: 'expected a lower-case name of at most 63 letters, digits, - or _' });

/** A model reference: `provider/model`, or a bare model that a configured provider serves. */
export const ModelRef = z.string().min(1).max(200);
