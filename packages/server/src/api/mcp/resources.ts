import type { Resource } from '@modelcontextprotocol/server';
import { idPrefixes, isTypeId, type Message, type Session, type SessionMessage } from '@nexus-agent/protocol';
import type { ApiServices } from '#api/contract';
import { cutText, NexusError } from '#core';
import type { Sdk } from './sdk.ts';
import type { McpCall, McpHandlers } from './surface.ts';

const scheme = 'nexus://sessions/';
const sessionsPerPage = 50;
const messagesPerPage = 50;
/** Of one tool's output or one message so much is shown among the messages; a larger file is got over HTTP. */
const maxTextChars = 20_000;
const maxFileBytes = 4 * 1024 * 1024;

/** What sessions hold, for reading: the conversations, newest first and in pages, and the files. */
export function createResources({ sessions, files }: Pick<ApiServices, 'sessions' | 'files'>, sdk: Sdk): McpHandlers {
  async function messages({ caller }: McpCall, uri: string, sessionId: string, cursor: string | null) {
    const page = await sessions.messages(caller.principal, sessionId, { limit: messagesPerPage, ...(cursor === null ? {} : { cursor }) });
    const next =
      page.nextCursor === null ? '' : `\n\nEarlier ones: ${uriOf(sessionId, 'messages')}?cursor=${encodeURIComponent(page.nextCursor)}`;
    const text = page.data.map(messageText).join('\n\n');
    return { contents: [{ uri, mimeType: 'text/plain', text: `${text || 'There are none.'}${next}` }] };
  }

  async function file({ caller, signal }: McpCall, uri: string, sessionId: string, path: string) {
    const { file: found, read } = await files.get(caller.principal, { sessionId }, path);
    if (found.bytes > maxFileBytes) {
      throw new NexusError(
        'payload_too_large',
        `${path} has ${found.bytes} bytes, and at most ${maxFileBytes} are given here; get it at GET /v1/sessions/${sessionId}/files/content?path=…`,
      );
    }
    const pieces: Uint8Array[] = [];
    for await (const piece of read(signal)) pieces.push(piece);
    const bytes = Buffer.concat(pieces);
    const text = spokenText(bytes);
    return {
      contents: [
        text === null
          ? { uri, mimeType: 'application/octet-stream', blob: bytes.toString('base64') }
          : { uri, mimeType: 'text/plain', text },
      ],
    };
  }

  return {
    async 'resources/list'(params, { caller }) {
      const cursor = params?.cursor;
      const page = await sessions.list(caller.principal, { limit: sessionsPerPage, ...(cursor === undefined ? {} : { cursor }) });
      return { resources: page.data.map(sessionResource), ...(page.nextCursor === null ? {} : { nextCursor: page.nextCursor }) };
    },
    'resources/templates/list': async () => ({
      resourceTemplates: [
        {
          uriTemplate: `${scheme}{session}/messages{?cursor}`,
          name: 'messages',
          title: 'Messages of a session',
          description: 'The conversation as text, the newest run first; each page names the next',
          mimeType: 'text/plain',
        },
        {
          uriTemplate: `${scheme}{session}/files/{+path}`,
          name: 'file',
          title: 'A file of a session',
          description: 'As the last tool left it',
        },
      ],
    }),
    async 'resources/read'({ uri }, call) {
      const place = readAddress(uri);
      if (place === null) throw new sdk.ResourceNotFoundError(uri);
      try {
        return place.path === null
          ? await messages(call, uri, place.sessionId, place.cursor)
          : await file(call, uri, place.sessionId, place.path);
      } catch (error) {
        if (error instanceof NexusError && error.code === 'not_found') throw new sdk.ResourceNotFoundError(uri, error.message);
        throw error;
      }
    },
  };
}

function uriOf(sessionId: string, rest: string): string {
  return `${scheme}${sessionId}/${rest}`;
}

function sessionResource({ id, agent, status, createdAt }: Session): Resource {
  return {
    uri: uriOf(id, 'messages'),
    name: id,
    title: `Session of ${agent}, begun ${createdAt}`,
    description: `Messages of the ${status} session ${id}`,
    mimeType: 'text/plain',
  };
}

interface Place {
  readonly sessionId: string;
  /** Of a file; null: the messages are meant. */
  readonly path: string | null;
  readonly cursor: string | null;
}

/** Null for what is no address of ours. */
function readAddress(uri: string): Place | null {
  const match = /^nexus:\/\/sessions\/([^/?#]+)\/(?:messages(?:\?cursor=([^&#]+))?|files\/([^?#]+))$/.exec(uri);
  const [, sessionId = '', cursor, path] = match ?? [];
  if (match === null || !isTypeId(idPrefixes.session, sessionId)) return null;
  try {
    return {
      sessionId,
      cursor: cursor === undefined ? null : decodeURIComponent(cursor),
      path: path === undefined ? null : decodeURIComponent(path),
    };
  } catch {
    return null; // a percent sign that begins nothing
  }
}

function messageText({ runId, at, message }: SessionMessage): string {
  return `${message.role} (${at}, ${runId}):\n${partsOf(message).join('\n')}`;
}

/** What people read: what a model thought is left out. */
function partsOf(message: Message): string[] {
  switch (message.role) {
    case 'user':
      return message.content.map((part) => (part.type === 'text' ? cutText(part.text, maxTextChars) : `[image ${part.mediaType}]`));
    case 'assistant':
      return message.content.flatMap((part) => {
        if (part.type === 'reasoning') return [];
        return part.type === 'text'
          ? [cutText(part.text, maxTextChars)]
          : [`[calls ${part.name}: ${cutText(JSON.stringify(part.input) ?? '', maxTextChars)}]`];
      });
    case 'tool':
      return message.content.map(({ name, output, isError }) => `[${name}${isError ? ' failed' : ''}]\n${cutText(output, maxTextChars)}`);
  }
}

/** Null for what is no text. */
function spokenText(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}
