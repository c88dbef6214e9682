import { z } from 'zod';

/** Names of agents, tools and routes. */
export const Name = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,62}$/, { error: 'expected a lower-case name of at most 63 letters, digits, - or _' });

/** A model reference: `provider/model`, or a bare model that a configured provider serves. */
export const ModelRef = z.string().min(1).max(200);

/** A user or a project, whose limits hold for what is done for them. `*` stands for every user and names nobody. */
export const Payer = z
  .string()
  .min(1)
  .max(100)
  .refine((name) => name !== '*', { error: 'expected a name; * stands for every user' });
