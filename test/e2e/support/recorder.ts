import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface UpstreamRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
}

/** Stands between the platform and the simulator and sees what is sent. `before` is awaited before a request goes on. */
export async function startRecorder(simulatorUrl: string, before: (request: UpstreamRequest) => Promise<void> | void = () => undefined) {
  const requests: UpstreamRequest[] = [];
  const server = createServer(async (incoming, response) => {
    const stop = new AbortController();
    response.on('close', () => stop.abort());
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk as Buffer); // no encoding is set
      const text = Buffer.concat(chunks).toString();
      const request = { path: incoming.url ?? '', headers: incoming.headers, body: JSON.parse(text) };
      requests.push(request);
      await before(request);
      const key = incoming.headers['idempotency-key'];
      const answer = await fetch(simulatorUrl + request.path, {
        method: 'POST',
        body: text,
        signal: stop.signal,
        headers: typeof key === 'string' ? { 'idempotency-key': key } : {},
      });
      const retryAfter = answer.headers.get('retry-after-ms');
      response.writeHead(answer.status, {
        'content-type': answer.headers.get('content-type') ?? '',
        ...(retryAfter === null ? {} : { 'retry-after-ms': retryAfter }),
      });
      for await (const chunk of answer.body ?? []) response.write(chunk);
      response.end();
    } catch {
      response.destroy(); // the platform left, or the simulator broke the stream
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    requests,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, // it listens on TCP
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type Recorder = Awaited<ReturnType<typeof startRecorder>>;
