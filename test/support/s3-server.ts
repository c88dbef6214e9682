import { createHash, createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the next requests of a method are given instead of an answer. */
export type S3Fault =
  | { readonly type: 'status'; readonly status: number; readonly code?: string }
  /** The connection ends without an answer. */
  | { readonly type: 'hang-up' }
  /** Nothing comes, and the connection stays open. */
  | { readonly type: 'silent' }
  /** After half of the body the connection ends, or nothing more comes. */
  | { readonly type: 'cut' | 'stall' }
  /** Bytes that are not the object's, of the right number. */
  | { readonly type: 'wrong' }
  /** It is all there, in drops. */
  | { readonly type: 'slow' };

export interface S3Server {
  readonly url: string;
  readonly bucket: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** By key. */
  readonly objects: Map<string, Buffer>;
  /** `METHOD key`, as they came. */
  readonly requests: string[];
  /** The next `times` requests of the method misbehave. */
  fail(method: string, fault: S3Fault, times?: number): void;
  /** Knows nothing of ranges from now on. */
  ignoresRanges: boolean;
  close(): Promise<void>;
}

const region = 'eu-test-1';
const bucket = 'files';
const accessKeyId = 'AKIDTEST';
const secretAccessKey = 'a-secret+of/the=test';

/** Objects of one bucket by PUT, GET, HEAD and DELETE: signatures, hashes and ranges are checked as S3 does. */
export async function startS3Server(): Promise<S3Server> {
  const objects = new Map<string, Buffer>();
  const requests: string[] = [];
  const faults = new Map<string, S3Fault[]>();
  let ignoresRanges = false;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '' } = request;
    const path = url.split('?')[0] ?? '';
    const [name, ...rest] = path.slice(1).split('/').map(decodeURIComponent);
    const key = rest.join('/');
    requests.push(`${method} ${key}`);
    const fault = faults.get(method)?.shift();
    if (fault?.type === 'hang-up') return void request.socket.destroy();
    if (fault?.type === 'silent') return;
    const body = await bodyOf(request);
    if (fault?.type === 'status') return refuse(response, fault.status, fault.code ?? 'InternalError');
    if (!isSigned(request)) return refuse(response, 403, 'SignatureDoesNotMatch');
    if (name !== bucket) return refuse(response, 404, 'NoSuchBucket');
    if (method === 'PUT') {
      if (createHash('sha256').update(body).digest('hex') !== request.headers['x-amz-content-sha256'])
        return refuse(response, 400, 'XAmzContentSHA256Mismatch');
      objects.set(key, body);
      return void response.writeHead(200, { etag: '"x"' }).end();
    }
    if (method === 'DELETE') {
      objects.delete(key);
      return void response.writeHead(204).end();
    }
    const object = objects.get(key);
    if (object === undefined) return refuse(response, 404, 'NoSuchKey', method);
    if (method === 'HEAD') return void response.writeHead(200, { 'content-length': object.byteLength }).end();
    const range = ignoresRanges ? null : /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const from = Number(range?.[1] ?? 0);
    if (from > object.byteLength) return refuse(response, 416, 'InvalidRange');
    await give(response, range === null ? 200 : 206, object.subarray(from), fault);
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, // it listens on a port
    ...{ bucket, region, accessKeyId, secretAccessKey, objects, requests },
    fail(method, fault, times = 1) {
      faults.set(method, [...(faults.get(method) ?? []), ...Array.from({ length: times }, () => fault)]);
    },
    get ignoresRanges() {
      return ignoresRanges;
    },
    set ignoresRanges(value) {
      ignoresRanges = value;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function give(response: ServerResponse, status: number, body: Buffer, fault: S3Fault | undefined): Promise<void> {
  response.writeHead(status, { 'content-length': body.byteLength });
  if (fault?.type === 'wrong') return void response.end(Buffer.alloc(body.byteLength, 'x'));
  if (fault?.type === 'slow') {
    for (let at = 0; at < body.byteLength; at += Math.ceil(body.byteLength / 5)) {
      response.write(body.subarray(at, at + Math.ceil(body.byteLength / 5)));
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    return void response.end();
  }
  if (fault === undefined) return void response.end(body);
  await new Promise((resolve) => response.write(body.subarray(0, Math.floor(body.byteLength / 2)), resolve));
  if (fault.type === 'cut') response.destroy();
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer); // no encoding is set
  return Buffer.concat(chunks);
}

function refuse(response: ServerResponse, status: number, code: string, method = 'GET'): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>no</Message></Error>`;
  response.writeHead(status, { 'content-type': 'application/xml' }).end(method === 'HEAD' ? undefined : body);
}

/** Signature version 4 of the request, made again from what came. */
function isSigned(request: IncomingMessage): boolean {
  const { authorization = '', 'x-amz-date': date = '' } = request.headers;
  const parsed = /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)$/.exec(authorization);
  const [, credential = '', names = '', signature] = parsed ?? [];
  const [id, ...scope] = credential.split('/');
  const day = String(date).slice(0, 8);
  if (id !== accessKeyId || scope.join('/') !== `${day}/${region}/s3/aws4_request`) return false;
  if (!names.split(';').includes('x-amz-content-sha256')) return false;
  const headers = names.split(';').map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
  const [path = '', query = ''] = (request.url ?? '').split('?');
  const canonical = [request.method, path, query, headers.join(''), names, request.headers['x-amz-content-sha256']].join('\n');
  const text = ['AWS4-HMAC-SHA256', date, scope.join('/'), createHash('sha256').update(canonical).digest('hex')].join('\n');
  let key: Buffer | string = `AWS4${secretAccessKey}`;
  for (const part of scope) key = createHmac('sha256', key).update(part).digest();
  return createHmac('sha256', key).update(text).digest('hex') === signature;
}
