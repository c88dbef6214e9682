import { z } from 'zod';

export const KeyScope = z.enum(['runs', 'approvals', 'admin', 'tools']);
export type KeyScope = z.infer<typeof KeyScope>;
/** A name that policies can ask for, as in `require_approval:role=lead`; the same in capital and small letters. */
export const Role = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: 'expected 1 to 64 letters, digits, dots, - or _, such as lead' })
  .toLowerCase();

export const KeyCreateRequest = z
  .strictObject({
    name: z.string().min(1).max(100),
    tenant: z.string().max(100).optional(),
    scopes: z.array(KeyScope).min(1).max(10).default(['runs', 'approvals']),
    /** What its holder may answer for, besides the role that follows from the scopes: `admin`, else `developer`. */
    roles: z.array(Role).max(20).default([]),
    expiresAt: z.iso.datetime().optional(),
  })
  .meta({ id: 'KeyCreateRequest' });
export type KeyCreateRequest = z.infer<typeof KeyCreateRequest>;
export const Key = z
  .object({
    id: z.string(),
    name: z.string(),
    tenant: z.string(),
    scopes: z.array(KeyScope),
    /** All that policies see of it, with the one that follows from the scopes. */
    roles: z.array(z.string()),
    createdAt: z.string(),
    expiresAt: z.string().optional(),
    revokedAt: z.string().optional(),
    /** Only in the answer to its creation: it is stored as a hash. */
    secret: z.string().optional(),
  })
  .meta({ id: 'Key' });
export type Key = z.infer<typeof Key>;
