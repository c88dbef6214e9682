import type { Socket } from 'node:net';
import { systemClock } from './clock.ts';
import { createTurnShare } from './turn-share.ts';

/** What is parsed at once: of headers of two characters about fifty, for which errors take some 1 ms. */
const sliceBytes = 256;
/** So much of one turn of the event loop goes to parsing, of all sockets together: others wait no longer than for that. */
const turnMs = 10;

/** Sockets that have more to give once others had their turn, the one that was served last at the end. */
const waiting = new Set<Socket>();

const isSpent = createTurnShare(turnMs, () => {
  for (const socket of [...waiting]) {
    if (isSpent(systemClock)) return;
    waiting.delete(socket);
    if (!socket.destroyed) socket.emit('readable');
  }
});

/**
 * The socket, which from now on gives whoever reads it on `readable` all a little at a time, and nothing any more once it is destroyed.
 * The parser of undici goes through the whole of what it was given, also behind the place where it gave up, and makes an error for each
 * header there: 64 KB of tiny headers took it some 300 ms, and others wait meanwhile. Where many sockets bring such heads at once, those
 * that the turn has no time for give nothing, and say `readable` again in the next.
 */
export function readInSlices<Given extends Socket>(socket: Given): Given {
  const read = socket.read.bind(socket);
  socket.read = (size?: number) => {
    if (size !== undefined) return read(size);
    if (socket.destroyed) return null;
    if (socket.readableLength > 0 && isSpent(systemClock)) {
      waiting.add(socket);
      return null;
    }
    return socket.readableLength > sliceBytes ? read(sliceBytes) : read();
  };
  return socket;
}
