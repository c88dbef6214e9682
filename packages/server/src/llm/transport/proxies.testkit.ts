import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { connect, type Socket } from 'node:net';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { certificate, type Listener, listening, privateKey } from '#llm/testing';

/** Makes this process trust the certificate of `models.test`. */
export function trustTestCertificate(): void {
  setDefaultCACertificates([...getCACertificates(), certificate]);
}

export interface TestProxy extends Listener {
  /** What it was asked for: `CONNECT host:port`, or the method and address, with the credentials that were shown. */
  readonly asked: readonly { readonly what: string; readonly credentials: string | undefined }[];
}

export interface TestProxyOptions {
  /** Where connections and requests go, whatever host they name. */
  readonly port: number;
  /** Over TLS. */
  readonly secure?: boolean;
  /** The status that it answers with; absent: it does what it is asked. `hang`: none ever; `drop`: it hangs up. */
  readonly answer?: number | 'hang' | 'drop';
  /** Sent with the answer to CONNECT. */
  readonly credentials?: string;
}

/** A small HTTP proxy: tunnels, and requests with a whole address. */
export async function startProxy({ port, secure = false, answer, credentials }: TestProxyOptions): Promise<TestProxy> {
  const asked: { what: string; credentials: string | undefined }[] = [];
  const verdict = (message: IncomingMessage) => {
    const shown = message.headers['proxy-authorization'];
    const given = shown === undefined ? undefined : Buffer.from(shown.replace(/^Basic /, ''), 'base64').toString();
    asked.push({ what: `${message.method} ${message.url}`, credentials: given });
    return credentials !== undefined && given !== credentials ? 407 : answer;
  };
  const handle = (message: IncomingMessage, response: ServerResponse) => {
    const status = verdict(message);
    if (status === 'hang') return;
    if (status === 'drop') return void message.socket.destroy();
    if (status !== undefined) return void response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>the proxy says no</h1>');
    const { pathname, search } = new URL(message.url ?? '');
    const { 'proxy-authorization': _, ...headers } = message.headers;
    const onward = request({ port, host: '127.0.0.1', method: message.method, path: pathname + search, headers }, (answered) => {
      response.writeHead(answered.statusCode ?? 502, answered.headers);
      answered.pipe(response);
    });
    message.pipe(onward);
  };
  const server = secure ? createSecureServer({ key: privateKey, cert: certificate }, handle) : createServer(handle);
  server.on('connect', (message: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => undefined);
    const status = verdict(message);
    if (status === 'hang') return;
    if (status === 'drop') return void socket.destroy();
    if (status !== undefined) return void socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
    const onward = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    onward.on('error', () => socket.destroy());
  });
  const listener = await listening(server);
  return { ...listener, asked };
}
