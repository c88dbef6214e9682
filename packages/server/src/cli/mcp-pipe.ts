import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { createSseDecoder, Problem } from '@nexus-agent/protocol';
import { z } from 'zod';

export interface PipeRequest {
  readonly method: 'POST' | 'DELETE';
  readonly body?: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface McpPipeParts {
  /** Messages of the client, one a line. */
  readonly input: Readable;
  /** Gives it one. */
  readonly write: (line: string) => void;
  /** Asks the server; gives its answer of whatever status. */
  readonly send: (request: PipeRequest) => Promise<Response>;
  /** Aborted when the command is told to end. */
  readonly signal: AbortSignal;
}

/** What a message is longer than is none: the client is told, and nobody holds it. */
const maxLineChars = 10_000_000;
const versionKey = 'io.modelcontextprotocol/protocolVersion';

const Message = z.looseObject({
  id: z.union([z.string(), z.number()]).optional(),
  method: z.string().optional(),
  params: z.looseObject({}).optional(),
});
type Message = z.infer<typeof Message>;

/** A request of the client that is not answered. */
interface UnderWay {
  readonly stop: AbortController;
  /** Of revision 2026-07-28, where leaving is cancelling. */
  readonly stateless: boolean;
  /** The server has it. */
  readonly sent: Promise<void>;
}

/**
 * Carries messages between standard input and output and the endpoint over HTTP, each as its revision has it there. Knows nothing of what
 * they are about. Resolves when the input ends or the signal fires, once what was under way has been cancelled and the session ended.
 */
export async function pipeMcp({ input, write, send, signal }: McpPipeParts): Promise<void> {
  const underWay = new Map<string | number, UnderWay>();
  const all = new Set<Promise<void>>();
  /** Of revisions before 2026-07-28, from the answer to `initialize` on. */
  let session: Record<string, string> = {};

  const own = (work: Promise<void>): void => {
    all.add(work);
    void work.finally(() => all.delete(work));
  };

  function fail(id: string | number | undefined, code: number, message: string): void {
    if (id !== undefined) write(JSON.stringify({ jsonrpc: '2.0', id, error: { code, message } }));
  }

  async function exchange(message: Message, stateless: boolean, stop: AbortController, onSent: () => void): Promise<void> {
    try {
      const answer = await send({
        method: 'POST',
        body: message,
        headers: { ...accepted, ...(stateless ? headersOfMessage(message) : session) },
        signal: stop.signal,
      });
      onSent();
      const id = answer.headers.get('mcp-session-id');
      if (message.method === 'initialize' && id !== null) session = { 'mcp-session-id': id };
      await passOn(answer, message);
    } catch (error) {
      if (!stop.signal.aborted) fail(message.id, -32_603, error instanceof Error ? error.message : 'the server gave no answer');
    } finally {
      onSent();
    }
  }

  async function passOn(answer: Response, { id, method }: Message): Promise<void> {
    const told = (text: string) => {
      if (method === 'initialize' && session['mcp-protocol-version'] === undefined) learnVersion(text);
      write(text);
    };
    if (answer.headers.get('content-type')?.startsWith('text/event-stream') !== true) {
      const text = await answer.text();
      if (text === '') return;
      const problem = Problem.safeParse(jsonOf(text));
      if (problem.success) return fail(id, -32_000, `${problem.data.code}: ${problem.data.detail}`);
      // One line, whatever it came as.
      return write(JSON.stringify(jsonOf(text)));
    }
    const decoder = createSseDecoder({ maxEventChars: 50_000_000, onEvent: (_event, data) => data !== '' && told(data) });
    for await (const piece of answer.body ?? []) decoder.push(piece);
  }

  function learnVersion(text: string): void {
    const { data } = z.object({ result: z.object({ protocolVersion: z.string() }) }).safeParse(jsonOf(text));
    if (data !== undefined) session = { ...session, 'mcp-protocol-version': data.result.protocolVersion };
  }

  /** Elsewhere a message may overtake another: what is to be cancelled is there first. */
  async function cancel(message: Message, { stop, stateless, sent }: UnderWay): Promise<void> {
    if (stateless) return stop.abort();
    await sent;
    await exchange(message, false, new AbortController(), () => undefined);
  }

  function take(line: string): void {
    const { data: message } = Message.safeParse(jsonOf(line));
    if (message === undefined)
      return void write(
        JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32_700, message: 'this line is no message of JSON-RPC' } }),
      );
    const { id, method, params } = message;
    const cancels = method === 'notifications/cancelled' ? underWay.get(params?.requestId as string | number) : undefined; // a key that is none is found nowhere
    if (cancels !== undefined) return void own(cancel(message, cancels));
    const stateless = versionOf(message) !== null;
    const stop = new AbortController();
    const { promise: sent, resolve: onSent } = Promise.withResolvers<void>();
    if (method === undefined || id === undefined) return void own(exchange(message, stateless, stop, onSent));
    underWay.set(id, { stop, stateless, sent });
    own(exchange(message, stateless, stop, onSent).finally(() => underWay.delete(id)));
  }

  const end = () => input.destroy();
  signal.addEventListener('abort', end, { once: true });
  try {
    await eachLine(input, take, () => fail(0, -32_600, `a message has more than ${maxLineChars} characters`));
  } finally {
    signal.removeEventListener('abort', end);
    for (const { stop } of underWay.values()) stop.abort();
    if (session['mcp-session-id'] !== undefined) await send({ method: 'DELETE', headers: session }).catch(() => undefined); // the server ends it by itself, too
    await Promise.all(all);
  }
}

const accepted = { accept: 'application/json, text/event-stream' };

/** The lines until the input ends, or is destroyed. */
async function eachLine(input: Readable, take: (line: string) => void, onTooLong: () => void): Promise<void> {
  const decoder = new StringDecoder('utf8');
  let open: string[] = []; // pieces of a line that has not ended
  let chars = 0;
  try {
    for await (const piece of input) {
      const [first = '', ...rest] = decoder.write(piece).split('\n');
      open.push(first);
      chars += first.length;
      for (const next of rest) {
        const line = open.join('');
        if (line.trim() !== '') take(line);
        open = [next];
        chars = next.length;
      }
      if (chars <= maxLineChars) continue;
      onTooLong();
      return;
    }
  } catch (error) {
    // Destroyed by ourselves, or the other end is gone: there is nothing more to read.
    if (!input.destroyed) throw error;
  }
}

function versionOf({ params }: Message): string | null {
  const { data } = z.looseObject({ _meta: z.looseObject({ [versionKey]: z.string() }) }).safeParse(params);
  return data === undefined ? null : String(data._meta[versionKey]);
}

/** What a request of revision 2026-07-28 repeats of itself in its headers. */
function headersOfMessage(message: Message): Record<string, string> {
  const { method = '', params = {} } = message;
  const name = method === 'resources/read' ? params.uri : method === 'tools/call' || method === 'prompts/get' ? params.name : undefined;
  return {
    'mcp-protocol-version': versionOf(message) ?? '',
    'mcp-method': method,
    ...(typeof name === 'string' ? { 'mcp-name': inHeader(name) } : {}),
  };
}

/** As it is where a header can hold it; else in base64, marked. */
function inHeader(value: string): string {
  const fits = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !/^=\?base64\?.*\?=$/i.test(value);
  return fits ? value : `=?base64?${Buffer.from(value).toString('base64')}?=`;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
