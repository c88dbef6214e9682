import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { page, SessionFile } from '@nexus-agent/protocol';
import { z } from 'zod';
import { pageQuery, pageRequest, type Route, type RouteAnswer, route } from '#api/contract';

const tag = 'sessions';
const run = z.string().min(1).max(100).optional();

export function fileRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/sessions/{session}/files',
      operationId: 'listFiles',
      summary: 'The files of a session, or with `run` those that a run works on: a fork has its own',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      query: pageQuery.extend({ run }),
      responses: { 200: { description: 'A page of files, by path', schema: page(SessionFile) } },
      handle: async ({ services, principal, params, query }) => ({
        status: 200,
        body: await services.files.list(principal, { sessionId: params.session ?? '', run: query.run }, pageRequest(query)),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/sessions/{session}/files/content',
      operationId: 'getFileContent',
      summary: 'The content of a file, as a download; its hash is the `ETag`',
      tag,
      scope: 'runs',
      params: { session: 'session' },
      query: z.strictObject({ path: z.string().min(1).max(4_096), run }),
      responses: { 200: { description: 'The bytes of the file', contentType: 'application/octet-stream' } },
      async handle({ services, principal, params, query, headers, signal }): Promise<RouteAnswer> {
        const of = { sessionId: params.session ?? '', run: query.run };
        const { file, read } = await services.files.get(principal, of, query.path);
        if (headers['if-none-match'] === etagOf(file))
          return { stream: async (response) => void response.writeHead(304, headersOf(file)).end() };
        const pieces = read(signal());
        // What cannot be read at all is told as an error; later the answer can only break off.
        const first = await pieces.next();
        return { stream: (response) => send(response, file, first, pieces) };
      },
    }),
  ];
}

async function send(
  response: ServerResponse,
  file: SessionFile,
  first: IteratorResult<Uint8Array>,
  rest: AsyncGenerator<Uint8Array>,
): Promise<void> {
  response.writeHead(200, { ...headersOf(file), 'content-type': 'application/octet-stream', 'content-length': file.bytes });
  async function* all() {
    try {
      if (!first.done) yield first.value;
      yield* rest;
    } finally {
      await rest.return(undefined);
    }
  }
  // A reader that leaves, and content that turns out to be wrong, both end the connection: the answer is then too short.
  await pipeline(Readable.from(all(), { objectMode: false }), response).catch(() => undefined);
}

/** What was written by a model, or by whoever speaks through it, is never shown as a page of this server. */
function headersOf(file: SessionFile) {
  return {
    etag: etagOf(file),
    'content-disposition': disposition(file.path),
    'content-security-policy': "sandbox; default-src 'none'",
    'x-content-type-options': 'nosniff',
    'cache-control': 'private, no-cache',
  };
}

function etagOf({ sha256 }: SessionFile): string {
  return `"${sha256}"`;
}

/** The file's own name, once in ASCII and once as it is (RFC 6266). */
function disposition(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const plain = name.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const whole = encodeURIComponent(name.toWellFormed()).replace(/['()*]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
  return `attachment; filename="${plain}"; filename*=UTF-8''${whole}`;
}
