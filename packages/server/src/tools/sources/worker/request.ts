import { z } from 'zod';

/** What a worker is told of a call besides its key, as it is kept. */
export const WorkerRequest = z.object({
  tool: z.string(),
  input: z.record(z.string(), z.unknown()),
  timeoutMs: z.int(),
  runId: z.string(),
  sessionId: z.string(),
  traceparent: z.string().optional(),
});
