import type { Socket } from 'node:net';
import { systemClock } from './clock.ts';
import { createTurnShare, type SharePlace } from './turn-share.ts';

/** What is parsed at once: of headers of two characters about fifty, for which errors take some 1 ms. */
const sliceBytes = 256;
/** So much of one turn of the event loop goes to parsing, of all sockets together: others wait no longer than for that. */
const turn = createTurnShare(10);

/** The socket whose slice is being parsed, which is done when it asks for the next one, and since when. */
let parsed: { readonly place: SharePlace; readonly sinceMs: number } | null = null;

/**
 * The socket, which from now on gives whoever reads it on `readable` all a little at a time, and nothing any more once it is destroyed.
 * The parser of undici goes through the whole of what it was given, also behind the place where it gave up, and makes an error for each
 * header there: 64 KB of tiny headers took it some 300 ms, and others wait meanwhile. Where many sockets bring such heads at once, those
 * that the turn has no time for give nothing, and say `readable` again in the next, those first that took least.
 */
export function readInSlices<Given extends Socket>(socket: Given): Given {
  const read = socket.read.bind(socket);
  const place = turn.join(() => {
    if (!socket.destroyed) socket.emit('readable');
  });
  socket.once('close', () => place.leave());
  socket.read = (size?: number) => {
    if (size !== undefined) return read(size);
    const now = systemClock.monotonic();
    if (parsed?.place === place) place.took(now - parsed.sinceMs, now);
    parsed = null;
    if (socket.destroyed || (socket.readableLength > 0 && place.mustWait(now))) return null;
    const slice = socket.readableLength > sliceBytes ? read(sliceBytes) : read();
    if (slice !== null) parsed = { place, sinceMs: now };
    return slice;
  };
  return socket;
}
