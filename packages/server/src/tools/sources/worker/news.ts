import { z } from 'zod';
import { type Bus, openTopic } from '#bus';

/** What nodes tell one another of calls for workers. All of it may be lost: whoever waits looks at the database by itself. */
const QueueNews = z.object({ tenantId: z.string(), queue: z.string() });
const CallNews = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ended'), tenantId: z.string(), callKey: z.string(), workerId: z.string() }),
  z.object({ type: z.literal('cancelled'), tenantId: z.string(), callKey: z.string(), reason: z.string() }),
  z.object({ type: z.literal('leaving'), tenantId: z.string(), workerId: z.string() }),
  z.object({ type: z.literal('output'), tenantId: z.string(), callKey: z.string(), text: z.string() }),
]);
export type CallNews = z.infer<typeof CallNews>;

export function openNews(bus: Bus) {
  return {
    /** Calls wait in a queue. */
    queues: openTopic(bus, 'tool-queues', QueueNews),
    calls: openTopic(bus, 'tool-calls', CallNews),
  };
}
export type News = ReturnType<typeof openNews>;
