import { z } from 'zod';

/** A file of a session, or of a fork of one of its runs. */
export const SessionFile = z
  .object({
    path: z.string(),
    bytes: z.int().nonnegative(),
    /** SHA-256 of the content, in hex. */
    sha256: z.string(),
    executable: z.boolean(),
    /** The run that wrote it; absent for what the session began with. */
    runId: z.string().optional(),
    updatedAt: z.string(),
  })
  .meta({ id: 'SessionFile' });
export type SessionFile = z.infer<typeof SessionFile>;
