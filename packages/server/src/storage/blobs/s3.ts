import { Readable } from 'node:stream';
import { AwsV4Signer } from 'aws4fetch';
import type { Dispatcher } from 'undici';
import { type Clock, NexusError, type Timers, throwIfAborted } from '#core';
import { Pool } from '#core/http';
import type { Blob, BlobDriver } from '#storage/contract';
import { checkBlob } from '../read-blob.ts';
import { checkStore } from './check.ts';

export interface S3BlobsOptions {
  /** `https://host[:port]`; buckets are named in the path, as every S3-compatible server takes it. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** Stands before the name of every object. */
  readonly prefix: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** Longest wait for a connection, for an answer to begin, and between two of its chunks; also what sending may take, besides its size. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** How often a request is made, the first time included. */
const maxAttempts = 4;
const firstPauseMs = 100;
/** A connection slower than this is given up. */
const minBytesPerMs = 20;
const maxErrorBytes = 4_096;

type Method = 'PUT' | 'GET' | 'HEAD' | 'DELETE';
type Name = Pick<Blob, 'tenantId' | 'sha256'>;
interface S3Request {
  readonly method: Method;
  readonly blob: Name;
  /** Of the body that is sent. */
  readonly bytes?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: () => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal | undefined;
}
type S3Response = Dispatcher.ResponseData;

/** Blobs as objects of a bucket. The hash of a blob is signed with it, so that the server checks what it is sent. */
export function createS3Blobs(options: S3BlobsOptions): BlobDriver {
  const { endpoint, bucket, prefix, timeoutMs, timers } = options;
  const base = new URL(endpoint);
  const pool = new Pool(base.origin, {
    connect: { timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connections: 32,
  });
  const place = `bucket ${bucket} at ${base.host}`;
  const urlOf = ({ tenantId, sha256 }: Name) => {
    const names = [bucket, ...prefix.split('/'), tenantId, sha256.slice(0, 2), sha256].filter((name) => name !== '');
    return new URL(`${base.pathname.replace(/\/$/, '')}/${names.map(encodeURIComponent).join('/')}`, base);
  };

  async function send({ method, blob, headers = {}, body, signal }: S3Request): Promise<S3Response> {
    const { accessKeyId, secretAccessKey, sessionToken, region, clock } = options;
    const signer = new AwsV4Signer({
      method,
      url: urlOf(blob).href,
      headers: { ...headers, 'x-amz-content-sha256': method === 'PUT' ? blob.sha256 : emptySha256 },
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region,
      datetime: new Date(clock.now()).toISOString().replace(/[:-]|\.\d{3}/g, ''),
    });
    const signed = await signer.sign();
    const given = Object.fromEntries([...signed.headers].filter(([name]) => name !== 'host'));
    return pool.request({
      method,
      path: signed.url.pathname + signed.url.search,
      headers: given,
      ...(body === undefined ? {} : { body: Readable.from(body(), { objectMode: false }) }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Asks until there is an answer to believe. `read` takes it, or throws what is to be tried again. */
  async function ask<T>(request: S3Request, read: (response: S3Response) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      throwIfAborted(request.signal);
      // Sending has no pause of its own to be measured by.
      const limitMs = timeoutMs + (request.bytes ?? 0) / minBytesPerMs;
      const controller = new AbortController();
      // The caller's signal also ends a body that is read later.
      const signal = request.signal === undefined ? controller.signal : AbortSignal.any([request.signal, controller.signal]);
      const cancel = timers.after(limitMs, () => controller.abort(new Error(`no answer within ${Math.round(limitMs)} ms`)));
      try {
        const response = await send({ ...request, signal });
        cancel(); // a body has its own clock
        return await read(response);
      } catch (error) {
        throwIfAborted(request.signal);
        const failure = error instanceof NexusError ? error : unreachable(place, error);
        if (!failure.retryable || attempt >= maxAttempts) throw failure;
      } finally {
        cancel();
      }
      await timers.sleep(firstPauseMs * 2 ** (attempt - 1), request.signal);
    }
  }

  const store: BlobDriver = {
    kind: 's3',
    async put(blob, read, signal) {
      const known = await ask({ method: 'HEAD', blob, signal }, async (response) => {
        await response.body.dump();
        // Who may not list a bucket is not told what is missing in it; and what is refused is told better where there is a body.
        if (response.statusCode >= 400 && response.statusCode < 500 && response.statusCode !== 429) return false;
        if (response.statusCode !== 200) throw refusal(place, response.statusCode, '');
        return response.headers['content-length'] === String(blob.bytes);
      });
      if (known) return;
      const headers = { 'content-length': String(blob.bytes), 'content-type': 'application/octet-stream' };
      await ask({ method: 'PUT', blob, bytes: blob.bytes, headers, body: () => checkBlob(blob, read()), signal }, async (response) => {
        if (response.statusCode === 200) return void (await response.body.dump());
        throw refusal(place, response.statusCode, await beginningOf(response));
      });
    },
    async *get(blob, signal) {
      let given = 0;
      for (let attempt = 1; ; attempt++) {
        const response = await open(blob, given, signal);
        try {
          for await (const piece of response) {
            given += piece.byteLength;
            yield piece;
          }
          if (given >= blob.bytes) return;
          throw new Error('the answer ended too early');
        } catch (error) {
          throwIfAborted(signal);
          // What was given cannot be taken back, so the next attempt goes on behind it.
          if (attempt >= maxAttempts) throw unreachable(place, error);
        }
        await timers.sleep(firstPauseMs * 2 ** (attempt - 1), signal);
      }
    },
    async remove(blob, signal) {
      await ask({ method: 'DELETE', blob, signal }, async (response) => {
        const text = await beginningOf(response);
        const { statusCode } = response;
        if (statusCode === 200 || statusCode === 204 || (statusCode === 404 && !/<Code>NoSuchBucket</.test(text))) return;
        throw refusal(place, statusCode, text);
      });
    },
    check: (signal) => checkStore(store, signal),
    close: () => pool.destroy(),
  };

  function open(blob: Blob, from: number, signal: AbortSignal | undefined): Promise<AsyncIterable<Uint8Array>> {
    const headers: Record<string, string> = from === 0 ? {} : { range: `bytes=${from}-` };
    return ask({ method: 'GET', blob, headers, signal }, async (response) => {
      if (response.statusCode === 206) return response.body;
      // A server that knows no ranges begins again.
      if (response.statusCode === 200) return from === 0 ? response.body : without(from, response.body);
      const text = await beginningOf(response);
      if (response.statusCode === 404 && !/<Code>NoSuchBucket</.test(text))
        throw new NexusError('not_found', 'the content of a file is not where it was kept');
      throw refusal(place, response.statusCode, text);
    });
  }

  return store;
}

const emptySha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

async function* without(bytes: number, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let left = bytes;
  for await (const piece of body) {
    if (piece.byteLength > left) yield piece.subarray(left);
    left = Math.max(0, left - piece.byteLength);
  }
}

async function beginningOf({ body }: S3Response): Promise<string> {
  let text = '';
  try {
    for await (const chunk of body) {
      text += String(chunk);
      if (text.length >= maxErrorBytes) break;
    }
  } catch {
    // the status says enough
  }
  return text.slice(0, maxErrorBytes);
}

function refusal(place: string, status: number, text: string): NexusError {
  const said = /<Code>([\w.]{1,60})<\/Code>/.exec(text)?.[1];
  const what = said === undefined ? String(status) : `${status} ${said}`;
  const passes = status >= 500 || status === 429 || status === 408;
  const message = passes
    ? `the ${place}, where files are kept, is not available (${what})`
    : `the ${place}, where files are kept, refuses (${what}); see tools.files.s3`;
  return new NexusError('storage_unavailable', message, { retryable: passes });
}

function unreachable(place: string, error: unknown): NexusError {
  if (error instanceof NexusError) return error;
  return new NexusError('storage_unavailable', `the ${place}, where files are kept, does not answer`, { cause: error });
}
