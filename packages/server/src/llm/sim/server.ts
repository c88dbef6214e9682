import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { dictionary } from '@nexus-agent/protocol';
import { BytePieces, type Clock, systemClock } from '#core';
import {
  anthropicMessagesInbound,
  asRecord,
  type InboundAnswer,
  type InboundDialect,
  type InboundRequest,
  openAiChatInbound,
  type RenderContext,
} from '#llm/dialects';
import { armKnobs, calmKnobs, type Knobs, readKnobs, splitModel } from './knobs.ts';
import { limitAnswer, planAnswer } from './planner.ts';
import { createStats, type SimulatorStats } from './stats.ts';
import { sendStream } from './stream.ts';
import { countTokens, hashText, tokenPieces } from './text.ts';

export interface SimulatorOptions {
  readonly host?: string;
  /** 0 takes a free port. */
  readonly port?: number;
  readonly clock?: Clock;
  /** Of the dice that `errorRate` throws. */
  readonly seed?: number;
  /** Whoever asks shows this in `x-nexus-simulator-key`: other programs of the machine can reach its port as well. Left out: everybody is answered. */
  readonly key?: string;
  /** Pace and faults of every answer, unless a request says otherwise. */
  readonly knobs?: Partial<Knobs>;
}

export interface Simulator {
  /** `http://host:port`; the OpenAI and Anthropic paths are below `/v1`. */
  readonly url: string;
  stats(): SimulatorStats;
  /** Destroys open connections. */
  close(): Promise<void>;
}

/** Plain names of the simulated models, with what is particular to each. */
const simulatedModels: Readonly<Record<string, Partial<Knobs>>> = dictionary({
  'sim-large': {},
  'sim-small': {},
  /** Fails the first try of each call with 503. */
  'sim-flaky': { status: 503, times: 1 },
  /** Takes 300 ms and then gives 25 tokens a second. */
  'sim-slow': { latencyMs: 300, tokensPerSecond: 25 },
  /** Is always out of order. */
  'sim-down': { status: 503 },
});

export const simulatedNames: readonly string[] = Object.keys(simulatedModels);

const dialects = new Map([openAiChatInbound, anthropicMessagesInbound].map((dialect) => [`/v1${dialect.path}`, dialect]));

interface Counting {
  readonly dialect: InboundDialect;
  readonly say: (tokens: number) => unknown;
}

/** Where input is counted without an answer: as Anthropic and vLLM do. */
const counting = new Map<string, Counting>([
  [`/v1${anthropicMessagesInbound.path}/count_tokens`, { dialect: anthropicMessagesInbound, say: (tokens) => ({ input_tokens: tokens }) }],
  ['/tokenize', { dialect: openAiChatInbound, say: (tokens) => ({ count: tokens, max_model_len: 128_000, tokens: [] }) }],
]);

const maxBodyBytes = 64 * 1024 * 1024;

/**
 * A deterministic stand-in for a model provider: it speaks the OpenAI and the Anthropic wire format on HTTP, plans tool
 * use by rules or by a script (see `directives.ts`), and fails on demand (see `knobs.ts`). It says what it is: model
 * names begin with `sim`, and every response carries `x-nexus-simulator: 1`.
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const { host = '127.0.0.1', port = 0, clock = systemClock, seed = 1 } = options;
  const stats = createStats();

  const server = createServer((request, response) => {
    response.setHeader('x-nexus-simulator', '1');
    if (options.key !== undefined && !isKey(request.headers[keyHeader], options.key))
      return sendJson(response, 401, openAiChatInbound.error(401, 'this simulator answers the server that started it'));
    const path = (request.url ?? '').split('?')[0] ?? '';
    const dialect = dialects.get(path);
    if (request.method === 'GET' && path === '/v1/models') {
      const data = simulatedNames.map((id) => ({ id, object: 'model', created: 0, owned_by: 'nexus-simulator' }));
      return sendJson(response, 200, { object: 'list', data });
    }
    const counted = counting.get(path);
    if (counted !== undefined && request.method === 'POST') {
      readBody(request).then(
        (body) => count(counted, body, response),
        () => response.destroy(),
      );
      return;
    }
    if (dialect === undefined || request.method !== 'POST') {
      return sendJson(
        response,
        404,
        openAiChatInbound.error(404, 'the simulator serves POST /v1/chat/completions, POST /v1/messages and GET /v1/models'),
      );
    }
    readBody(request).then(
      (body) => answer(dialect, body, request, response),
      () => response.destroy(),
    );
  });
  server.on('connection', (socket) => {
    stats.connected(1);
    socket.once('close', () => stats.connected(-1));
  });
  server.keepAliveTimeout = 30_000;

  /** As many input tokens as the same request would be charged. */
  function count({ dialect, say }: Counting, text: string, response: ServerResponse): void {
    try {
      const asked = dialect.read({ max_tokens: 1, ...asRecord(JSON.parse(text)) });
      sendJson(response, 200, say(inputTokensOf(asked)));
    } catch (error) {
      sendJson(response, 400, dialect.error(400, error instanceof Error ? error.message : 'the body cannot be read'));
    }
  }

  /** What of it fails is an answer as well: it is nobody's else to catch. */
  function answer(...asked: Parameters<typeof answerTo>): void {
    try {
      answerTo(...asked);
    } catch {
      fail(asked[0], asked[3]);
    }
  }

  function fail(dialect: InboundDialect, response: ServerResponse): void {
    if (response.headersSent) response.destroy();
    else sendJson(response, 500, dialect.error(500, 'the simulator cannot make an answer of this'));
  }

  function answerTo(dialect: InboundDialect, text: string, request: IncomingMessage, response: ServerResponse): void {
    let asked: InboundRequest;
    let knobs: Knobs;
    let name: string;
    try {
      const body = asRecord(JSON.parse(text));
      if (body === null) throw new Error('the body must be a JSON object');
      asked = dialect.read(body);
      const split = splitModel(asked.model);
      name = split.name;
      knobs = { ...calmKnobs, ...options.knobs, ...simulatedModels[name], ...split.knobs, ...headerKnobs(request) };
    } catch (error) {
      sendJson(response, 400, dialect.error(400, error instanceof Error ? error.message : 'the body cannot be read'));
      return;
    }
    if (!Object.hasOwn(simulatedModels, name)) {
      sendJson(response, 404, dialect.error(404, `the simulator has no model ${name}`));
      return;
    }

    const key = String(request.headers['idempotency-key'] ?? hashText(text));
    const count = stats.begin(name, key);
    const armed = armKnobs(knobs, { seed, key, count });
    let faulted = false;
    const onFault = () => {
      faulted = true;
    };
    response.once('close', () => stats.end(name, faulted ? 'faulted' : response.writableFinished ? 'completed' : 'aborted'));
    const reply = () => {
      if (response.destroyed) return;
      if (armed.status !== null || armed.contentType !== null) onFault();
      if (armed.status !== null) {
        if (armed.retryAfterMs !== null) {
          response.setHeader('retry-after-ms', String(armed.retryAfterMs));
          response.setHeader('retry-after', String(Math.ceil(armed.retryAfterMs / 1000)));
        }
        return sendJson(response, armed.status, dialect.error(armed.status, `the simulator answers ${armed.status} as it was told to`));
      }
      if (armed.contentType !== null) {
        response.writeHead(200, { 'content-type': armed.contentType });
        return void response.end('<html>this is not a stream</html>');
      }
      const said = limitAnswer(planAnswer(asked), asked.maxTokens);
      const context = contextOf(asked, said, { text, name, noUsage: armed.noUsage, created: Math.floor(clock.now() / 1000) });
      const rendered = dialect.render(said, context);
      if (asked.stream)
        sendStream(response, { ...rendered, error: dialect.errorEvent('the simulator failed as it was told to') }, armed, {
          onFault,
          onChunks: (sent) => stats.streamed(key, sent),
        });
      else sendJson(response, 200, rendered.body);
    };
    if (armed.latencyMs > 0) {
      const timer = setTimeout(() => {
        try {
          reply();
        } catch {
          fail(dialect, response);
        }
      }, armed.latencyMs);
      response.once('close', () => clearTimeout(timer));
    } else reply();
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  const actualPort = typeof address === 'object' && address !== null ? address.port : port;
  return {
    url: `http://${host}:${actualPort}`,
    stats: stats.read,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Of the key that a simulator was started with. */
export const keyHeader = 'x-nexus-simulator-key';

/** In a time that does not tell how much of it is right. */
function isKey(given: string | string[] | undefined, key: string): boolean {
  const [a, b] = [String(given ?? ''), key].map((text) => createHash('sha256').update(text).digest()) as [Buffer, Buffer]; // two in, two out
  return timingSafeEqual(a, b);
}

function inputTokensOf({ inputTexts }: InboundRequest): number {
  return inputTexts.reduce((sum, text) => sum + countTokens(text), 0);
}

function contextOf(
  asked: InboundRequest,
  said: InboundAnswer,
  given: { readonly text: string; readonly name: string; readonly noUsage: boolean; readonly created: number },
): RenderContext {
  const reasoningTokens = countTokens(said.thinking);
  const callTokens = said.calls.reduce((sum, call) => sum + countTokens(call.name) + countTokens(call.arguments), 0);
  const id = `sim-${hashText(given.text).toString(36)}-${asked.turns.length}`;
  return {
    id,
    created: given.created,
    servedBy: 'nexus-simulator',
    signature: `sim-signature-${id}`,
    pieces: tokenPieces,
    model: given.name,
    inputTokens: inputTokensOf(asked),
    outputTokens: reasoningTokens + countTokens(said.text) + callTokens,
    reasoningTokens,
    reportUsage: !given.noUsage && (asked.includeUsage || !asked.stream),
  };
}

function headerKnobs(request: IncomingMessage): Partial<Knobs> {
  const pairs = Object.entries(request.headers).flatMap(([name, value]) =>
    name.startsWith('x-sim-') && typeof value === 'string' ? [[name.slice('x-sim-'.length), value] as const] : [],
  );
  return pairs.length === 0 ? {} : readKnobs(pairs);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const pieces = new BytePieces();
  for await (const chunk of request as AsyncIterable<Buffer>) {
    // without an encoding set, chunks are buffers
    pieces.add(chunk);
    if (pieces.bytes > maxBodyBytes) throw new Error('the body is too large');
  }
  return pieces.concat().toString('utf8');
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
