import { z } from 'zod';

export const KeyScope = z.enum(['runs', 'approvals', 'admin']);
export type KeyScope = z.infer<typeof KeyScope>;
export const KeyCreateRequest = z
  .strictObject({
    name: z.string().min(1).max(100),
    tenant: z.string().optional(),
    scopes: z.array(KeyScope).min(1).default(['runs', 'approvals']),
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
    createdAt: z.string(),
    expiresAt: z.string().optional(),
    revokedAt: z.string().optional(),
    /** Only in the answer to its creation: it is stored as a hash. */
    secret: z.string().optional(),
  })
  .meta({ id: 'Key' });
export type Key = z.infer<typeof Key>;
