import { RunId, TenantId } from '@nexus-agent/protocol';
import { z } from 'zod';
import { type Bus, openTopic } from '#bus';
import type { Wake, WakeMessage } from './port.ts';

const WakeMessageSchema = z.object({ tenantId: TenantId, runId: RunId, cancel: z.string().exactOptional() });

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
  const { publish, subscribe } = openTopic(bus, 'wake', WakeMessageSchema);
  return {
    wake: (message) => (bus.spansProcesses || !isHere(message) ? publish(message) : receive(message)),
    publish,
    listen() {
      stopListening = subscribe(receive);
    },
    close: () => stopListening(),
  };
}
