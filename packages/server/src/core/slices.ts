import type { Socket } from 'node:net';

/** What is parsed at once: of headers of two characters about fifty, for which errors take some 1 ms. */
const sliceBytes = 256;

/**
 * The socket, which from now on gives whoever reads it all a little at a time, and nothing any more once it is destroyed. The parser of
 * undici goes through the whole of what it was given, also behind the place where it gave up, and makes an error for each header there:
 * 64 KB of tiny headers took it some 300 ms, and others wait meanwhile.
 */
export function readInSlices<Given extends Socket>(socket: Given): Given {
  const read = socket.read.bind(socket);
  socket.read = (size?: number) => {
    if (size !== undefined) return read(size);
    if (socket.destroyed) return null;
    return socket.readableLength > sliceBytes ? read(sliceBytes) : read();
  };
  return socket;
}
