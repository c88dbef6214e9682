import type { Message } from '@nexus-agent/protocol';
import { boundMessage } from './bound.ts';
import { estimateMessageTokens } from './estimate.ts';
import { leastMessageTokens } from './least.ts';

/** Measures a message in each way that a request with it is measured, so that this is known when the request is made. */
export function measureMessage(message: Message): void {
  estimateMessageTokens(message);
  leastMessageTokens(message);
  boundMessage(message);
}
