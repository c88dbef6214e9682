import { z } from 'zod';
import { Message } from '../content.ts';

export const SessionMessage = z
  .object({ runId: z.string(), seq: z.int(), at: z.string(), message: Message })
  .meta({ id: 'SessionMessage' });
export type SessionMessage = z.infer<typeof SessionMessage>;
