import type { Transport } from '@modelcontextprotocol/client';
import type { Timers } from '#core';

/** What a server asks beside our calls is answered by the SDK without a bound: each answer is a connection of its own. */
const maxAtOnce = 20;
const maxOfSecond = 100;

/**
 * The same way to a server, on which so much is answered at a time and within a second. Where it asks for more nothing is answered any more,
 * and `onFlood` is told, once.
 */
export function withBoundedReplies(transport: Transport, timers: Pick<Timers, 'after'>, onFlood: () => void): Transport {
  const send = transport.send.bind(transport);
  let atOnce = 0;
  let ofSecond = 0;
  let isFlood = false;
  transport.send = async (message, options) => {
    if ('method' in message) return send(message, options);
    if (ofSecond === 0)
      timers.after(1_000, () => {
        ofSecond = 0;
      });
    ofSecond += 1;
    if (!isFlood && (atOnce >= maxAtOnce || ofSecond > maxOfSecond)) {
      isFlood = true;
      onFlood();
    }
    if (isFlood) throw new Error('the server asks on and on, and is answered no more');
    atOnce += 1;
    try {
      await send(message, options);
    } finally {
      atOnce -= 1;
    }
  };
  return transport;
}
