import { RunId, TenantId } from '@nexus-agent/protocol';
import { z } from 'zod';
import type { Bus } from '#bus';
import type { Wake, WakeMessage } from './port.ts';

const topicName = 'wake';
const WakeMessageSchema = z.object({ tenantId: TenantId, runId: RunId, cancel: z.string().optional() });

export interface WakeTopic {
  /** Tells every process, or only this one where that is enough. */
  readonly wake: Wake;
  /** Tells every process. */
  publish(message: WakeMessage): void;
  listen(): void;
  close(): void;
}

/** Wake-ups between processes. One that is lost costs time only: the queue is polled, and cancels come with the heartbeat. */
export function createWakeTopic(
  bus: Bus,
  { isHere, receive }: { readonly isHere: (message: WakeMessage) => boolean; readonly receive: (message: WakeMessage) => void },
): WakeTopic {
  let stopListening: () => void = () => undefined;
  const publish = (message: WakeMessage) => bus.publish(topicName, JSON.stringify(message));
  return {
    wake: (message) => (bus.spansProcesses || !isHere(message) ? publish(message) : receive(message)),
    publish,
    listen() {
      stopListening = bus.subscribe(topicName, (text) => {
        const message = parse(text);
        if (message !== null) receive(message);
      });
    },
    close: () => stopListening(),
  };
}

/** Null for what is no wake-up: another version of the server may say more than this one understands. */
function parse(text: string): WakeMessage | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const { success, data } = WakeMessageSchema.safeParse(value);
  if (!success) return null;
  const { cancel, ...run } = data;
  return cancel === undefined ? run : { ...run, cancel };
}
