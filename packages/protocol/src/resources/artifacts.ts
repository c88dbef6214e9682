import { z } from 'zod';

/** What is kept of a result of a tool that was too long for a prompt. */
export const Artifact = z
  .object({
    id: z.string(),
    sessionId: z.string(),
    /** Absent for a call outside a run. */
    runId: z.string().optional(),
    callId: z.string(),
    tool: z.string(),
    mediaType: z.string(),
    bytes: z.int().nonnegative(),
    /** In units of UTF-16. */
    characters: z.int().nonnegative(),
    lines: z.int().nonnegative(),
    /** False where the result was longer than what may be kept of one. */
    whole: z.boolean(),
    /** SHA-256 of the content, in hex. */
    sha256: z.string(),
    createdAt: z.string(),
  })
  .meta({ id: 'Artifact' });
export type Artifact = z.infer<typeof Artifact>;
