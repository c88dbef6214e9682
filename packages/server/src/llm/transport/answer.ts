import { StringDecoder } from 'node:string_decoder';
import { createSseDecoder, SseTooLargeError } from '@nexus-agent/protocol';
import { BytePieces, isTooDeep, NexusError } from '#core';
import { asRecord, type StreamDecoder } from '#llm/dialects';
import { type BodyKind, sniffBody, withoutBlank } from './sniff.ts';

/** Reads the body of an answer that is no refusal: the stream that was asked for, or the whole of it in one piece. */
export interface AnswerReader {
  /** Bytes of the body, decompressed. Throws a NexusError for what cannot be read. */
  push(chunk: Buffer): void;
  /** The body ended as it should. */
  end(): void;
  /** What came of an event or a document that is not whole: where it is read no further, it may be all of the answer. */
  unread(): string;
}

export interface AnswerReaderOptions {
  readonly provider: string;
  readonly model: string;
  readonly contentType: string;
  readonly status: number;
  readonly decoder: Pick<StreamDecoder, 'event' | 'document'>;
  /** Most bytes of the body, decompressed. */
  readonly maxBytes: number;
  /** Of the answer that was asked for, for errors. */
  readonly maxOutputTokens: number;
}

/** Longest line, and longest data of one event, of an answer; and the most bytes of an answer in one piece. */
const maxEventChars = 2_000_000;
/** Servers that leave out what stands between events, or send them in lines, do so with no more of them. */
const maxEventsInOne = 1_000;
const maxEventsInDocument = 20_000;
/** Events of an answer: some carry nothing, and of a word some servers send each letter. One takes a microsecond or two, whatever is in it. */
const maxEvents = (maxOutputTokens: number) => 10_000 + 16 * maxOutputTokens;
const unfinishedLine = Buffer.from('\n\n');

export function createAnswerReader(options: AnswerReaderOptions): AnswerReader {
  const { provider, model, decoder, maxBytes } = options;
  const details = { provider, model };
  const utf8 = new StringDecoder('utf8'); // quicker with small pieces than the decoder's own way
  const mostEvents = maxEvents(options.maxOutputTokens);
  let events = 0;
  const sse = createSseDecoder({
    maxEventChars,
    decodeUtf8: (bytes) => utf8.write(bytes),
    onEvent(event, data) {
      for (const part of eventsIn(data)) {
        if (++events > mostEvents) throw goesOn(`${mostEvents} events`);
        decoder.event(event, part);
      }
    },
  });
  let kind: BodyKind | null = null;
  let head: Buffer = Buffer.alloc(0); // of a body whose kind is not known yet
  const document = new BytePieces();
  let received = 0;

  function goesOn(after: string): NexusError {
    const message = `${provider} goes on after ${after} of an answer of ${options.maxOutputTokens} tokens`;
    return new NexusError('provider_malformed', message, { details, retryable: false });
  }

  function pushStream(chunk: Buffer): void {
    try {
      sse.push(chunk);
    } catch (cause) {
      if (!(cause instanceof SseTooLargeError)) throw cause;
      const message = `${provider} sent an event of more than ${cause.maxEventChars} characters`;
      throw new NexusError('provider_malformed', message, { details, cause, retryable: false });
    }
  }

  function decide(ended: boolean): void {
    kind = sniffBody(head, options.contentType, ended);
    if (kind === 'foreign') throw foreignAnswer(options, head);
    if (kind === 'document') document.add(head);
    else if (kind === 'stream') pushStream(head);
  }

  return {
    push(chunk) {
      received += chunk.length;
      if (received > maxBytes) throw goesOn(`${maxBytes} bytes`);
      if (kind === 'stream') return pushStream(chunk);
      if (received > maxEventChars) {
        const message = `${provider} sent an answer in one piece of more than ${maxEventChars} bytes`;
        throw new NexusError('provider_malformed', message, { details, retryable: false });
      }
      if (kind === 'document') return document.add(chunk);
      head = withoutBlank(Buffer.concat([head, chunk]));
      decide(false);
    },
    unread: () => (kind === 'document' ? document.concat().toString('utf8') : sse.unfinished()),
    end() {
      if (kind === null) decide(true);
      if (kind === 'document') return readWhole(options, document.concat().toString('utf8'));
      try {
        pushStream(unfinishedLine); // servers leave out the blank line after their last event
      } catch (error) {
        // What cannot be read there was cut off.
        if (!(error instanceof NexusError) || error.code !== 'provider_malformed' || !error.retryable) throw error;
      }
    },
  };
}

/** The data of an event; of several, where a server leaves out the blank lines between them or puts the name of the field twice. */
function eventsIn(data: string): readonly string[] {
  if (!data.includes('\n') && !data.startsWith('data:')) return [data];
  const lines = linesOf(data).map((line) => (line.startsWith('data:') ? line.slice(5).trim() : line));
  if (lines.length > maxEventsInOne) return [data];
  return lines.length === 1 || lines.every((line) => isObject(line) || line === '[DONE]') ? lines : [data];
}

function linesOf(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

function isObject(line: string): boolean {
  return line.startsWith('{') && line.endsWith('}');
}

/** JSON in one piece, or in lines of which each is an event. */
function readWhole(options: AnswerReaderOptions, text: string): void {
  const lines = linesOf(text);
  if (lines.length < 2 || lines.length > maxEventsInDocument || !lines.every(isObject)) readDocument(options, text);
  else for (const line of lines) options.decoder.event('', line);
}

function readDocument({ provider, model, decoder }: AnswerReaderOptions, text: string): void {
  const details = { provider, model };
  // The same request would get the same.
  const refused = () =>
    new NexusError('provider_malformed', `${provider} answered with JSON that is no answer instead of an event stream`, {
      details,
      retryable: false,
    });
  if (isTooDeep(text)) throw refused();
  let value: unknown;
  try {
    value = JSON.parse(withoutEndMark(text));
  } catch (cause) {
    throw new NexusError('provider_malformed', `${provider} answered with JSON that is broken or cut off`, { details, cause });
  }
  const body = asRecord(Array.isArray(value) && value.length === 1 ? value[0] : value);
  if (body === null) throw refused();
  decoder.document(body);
}

/** Some gateways close whatever they send as a stream. */
function withoutEndMark(text: string): string {
  const [mark, field] = ['[DONE]', 'data:'];
  const whole = text.trimEnd();
  if (!whole.endsWith(mark)) return text;
  const before = whole.slice(0, -mark.length).trimEnd();
  return before.endsWith(field) ? before.slice(0, -field.length) : text;
}

function foreignAnswer({ provider, model, contentType, status }: AnswerReaderOptions, head: Buffer): NexusError {
  const isPage = head[0] === 0x3c;
  const kind = isPage ? 'a page' : contentType.split(';')[0]?.slice(0, 80) || 'no content type';
  const said = `${provider} answered with ${kind} (status ${status}) instead of an event stream; check the base URL`;
  // A page is what stands at that address; a line of text may come from a proxy that has no server at the moment.
  return new NexusError('provider_malformed', said, { details: { provider, model, status }, ...(isPage ? { retryable: false } : {}) });
}
