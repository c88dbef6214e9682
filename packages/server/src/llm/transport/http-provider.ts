import { type Clock, NexusError, type SecretValues } from '#core';
import type { Provider, ProviderCall, ProviderEvents, ProviderStream } from '#llm/attempt';
import type { DeltaKind, ModelPrice, ModelRequest } from '#llm/contract';
import { asRecord, type UpstreamDialect } from '#llm/dialects';
import { boundJsonTokens, estimateTextTokens, mostExcessTokens, ReceivedTokens } from '#llm/tokens';
import { type AnswerReader, createAnswerReader } from './answer.ts';
import type { AnswerHead } from './head.ts';
import { createTransport, type JsonQuestion, type Transport } from './http.ts';
import { createModelList, describeTrouble, firstChatModel, isListed, type ListedModel, nearestModel } from './model-list.ts';

export type Discovery = 'sizes' | 'all';

/** A request whose input is to be counted, and the way to ask the server. */
export interface CountQuestion {
  readonly model: string;
  readonly request: ModelRequest;
  /** The body that would be sent. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  post(question: Pick<JsonQuestion, 'path' | 'fromRoot' | 'body'>): Promise<unknown>;
}

/** The most input tokens that the server will charge for a request; null when that cannot be told. May reject. */
export type InputCounter = (question: CountQuestion) => Promise<number | null>;

export interface HttpProviderOptions {
  readonly name: string;
  readonly simulator: boolean;
  readonly catalogue: string | null;
  readonly fixedPrice?: (model: string) => ModelPrice | null;
  readonly baseUrl: string;
  readonly proxy?: string;
  readonly dialect: UpstreamDialect;
  /** Headers of every request; the credentials are among them. */
  readonly headers: Readonly<Record<string, string>>;
  /**
   * `sizes`: asks for the server's list at once, for what it says of sizes. `all`: and believes it, so that what it lacks is not served;
   * gateways serve much that they do not list.
   */
  readonly discovers?: Discovery;
  /** What the provider is asked for by those who do not choose, where it serves that. Without it: the first that it lists. */
  readonly preferredModel?: string;
  /** A price for models that the catalogue does not know. */
  readonly unlistedPrice?: ModelPrice;
  /** Configured models. When absent, the server's own list is asked for and kept for a minute. */
  readonly modelNames?: readonly string[];
  /** Bare names that mean this provider although no list names them. */
  readonly claimPattern?: RegExp;
  /** For references that carry more than the model's listed name. */
  readonly listedName?: (model: string) => string;
  /** Models that are known to stream every token that they write. */
  readonly showsAll: (model: string) => boolean;
  /** Servers that read less than they are sent, without a word. Default: not so. */
  readonly mayCut?: boolean;
  readonly contextTokens?: number;
  readonly maxOutputTokens?: number;
  /** The most input tokens that one image counts. */
  readonly imageTokens?: (model: string) => number | undefined;
  /** The most tokens that the server puts around every request. */
  readonly templateTokens?: number;
  /** Members of every request that are none of the platform's own: what they say may reach the model. */
  readonly extraBody?: Readonly<Record<string, unknown>>;
  readonly counter?: InputCounter;
  /** Most characters of an answer. */
  readonly maxAnswerChars?: number;
  readonly timeouts?: { readonly connectTimeoutMs?: number; readonly firstByteTimeoutMs?: number; readonly idleTimeoutMs?: number };
  /** What is sent to the provider and must not come back in its errors and lists. */
  readonly secrets?: SecretValues | undefined;
  readonly clock: Clock;
}

/** What an answer may take on the wire, with every token in an event of its own: more is not the answer that was asked for. */
const baseAnswerBytes = 2_000_000;
const bytesPerToken = 1_024;
/** A count is for not being refused: whoever waits for it could have been told no. */
const countTimeoutMs = 5_000;
/** A server that does not count is asked again after so long. */
const countRestMs = 60_000;
/** So many more tokens are worth telling of; fewer at first, as a short answer that is lost should not cost a long one. */
const progressTokens = 32;
const firstProgressTokens = 4;
const listTimeoutMs = 3_000;

/** A provider that is reached over HTTP in one wire format. */
export function createHttpProvider(options: HttpProviderOptions): Provider {
  const { name, clock } = options;
  const proxy = options.proxy === undefined ? {} : { proxy: options.proxy };
  const { secrets } = options;
  const transport = createTransport({ provider: name, baseUrl: options.baseUrl, clock, secrets, ...proxy, ...options.timeouts });
  const listedName = options.listedName ?? ((model: string) => model);
  const askList = async () => {
    const body = await transport.json({ path: '/models', headers: options.headers, timeoutMs: listTimeoutMs });
    return secrets === undefined ? body : secrets.inData(body);
  };
  const list = createModelList(askList, clock);
  const { modelNames, preferredModel } = options;
  const bodyTokens = bodyTokensOf(options);
  const names = async () => modelNames ?? (await list.read()).map(({ id }) => id);
  // Sizes, too, are only on a list; nobody waits for it.
  if (options.discovers !== undefined) void list.read();

  return {
    name,
    simulator: options.simulator,
    catalogue: options.catalogue,
    fixedPrice: options.fixedPrice ?? (() => null),
    unlistedPrice: options.unlistedPrice ?? null,
    models: names,
    claims: (model) => options.claimPattern?.test(model) === true || modelNames?.includes(listedName(model)) === true,
    async lists(model) {
      return (await names()).includes(listedName(model));
    },
    serves(model) {
      const known = options.discovers === 'all' && modelNames?.includes(model) !== true ? list.known() : null;
      return known === null || known.length === 0 || isListed(known, listedName(model));
    },
    async defaultModel() {
      if (modelNames !== undefined) return modelNames[0] ?? null;
      if (options.discovers === undefined) return preferredModel ?? null;
      if (preferredModel !== undefined && options.discovers === 'sizes') return preferredModel;
      const listed = await list.read();
      if (preferredModel !== undefined && (listed.length === 0 || isListed(listed, preferredModel))) return preferredModel;
      return firstChatModel(listed);
    },
    trouble() {
      const trouble = modelNames === undefined ? list.trouble() : null;
      return trouble === null ? null : describeTrouble({ provider: name, baseUrl: options.baseUrl }, trouble);
    },
    thinksUnseen: (model) => !options.showsAll(listedName(model)),
    mayCut: options.mayCut ?? false,
    limits(model) {
      const imageTokens = options.imageTokens?.(listedName(model));
      return {
        ...withContextTokens(
          list.known()?.find(({ id }) => id === model || id === `${model}:latest`)?.contextTokens ?? options.contextTokens,
        ),
        ...(options.maxOutputTokens === undefined ? {} : { maxOutputTokens: options.maxOutputTokens }),
        ...(options.templateTokens === undefined ? {} : { templateTokens: options.templateTokens }),
        ...(bodyTokens === 0 ? {} : { bodyTokens }),
        ...(imageTokens === undefined ? {} : { imageTokens }),
      };
    },
    countInput: createCounting(transport, options),
    open(call, events) {
      const failed = (error: NexusError) => events.failed(withListed(error, listedName(call.model), list.known() ?? []));
      return openCall(transport, options, call, { ...events, failed });
    },
    close: () => transport.close(),
  };
}

/** Asks the provider's counter, which may fail: a server that has none, or does not answer in time, is left alone for a while. */
function createCounting(transport: Transport, options: HttpProviderOptions): Provider['countInput'] {
  const { counter, dialect, headers, clock } = options;
  let restsUntil = Number.NEGATIVE_INFINITY;
  return async ({ model, request }, signal) => {
    if (counter === undefined || clock.monotonic() < restsUntil) return null;
    try {
      const body =
        asRecord<Record<string, unknown>>(JSON.parse(dialect.encode(request, { model, maxOutputTokens: request.maxOutputTokens }))) ?? {};
      const post: CountQuestion['post'] = (question) => transport.json({ ...question, headers, timeoutMs: countTimeoutMs, signal });
      const counted = await counter({ model, request, body, signal, post });
      // Null: it cannot count this one, which says nothing of others.
      if (counted === null) return null;
      if (Number.isSafeInteger(counted) && counted > 0) return counted + bodyTokensOf(options);
    } catch (error) {
      // Nobody is told: the bound that was known before holds. A request that is refused says nothing of others either.
      const status = error instanceof NexusError ? error.details?.status : undefined;
      if (signal.aborted || status === 400 || status === 413 || status === 422) return null;
    }
    restsUntil = clock.monotonic() + countRestMs;
    return null;
  };
}

const mostNamed = 8;

/** A refusal of a model that the server does not list, with what it lists; the nearest name first. */
function withListed(error: NexusError, model: string, listed: readonly ListedModel[]): NexusError {
  if (error.details?.status !== 404 || listed.length === 0 || isListed(listed, model)) return error;
  const names = listed.map(({ id }) => id);
  const near = nearestModel(model, names);
  const shown = [...(near === null ? [] : [near]), ...names.filter((id) => id !== near && id !== `${near}:latest`)].slice(0, mostNamed);
  const { code, message, details, retryable, cause } = error;
  return new NexusError(code, `${message}; it lists ${shown.join(', ')}`, { details, retryable, cause });
}

function bodyTokensOf({ extraBody }: HttpProviderOptions): number {
  return extraBody === undefined ? 0 : boundJsonTokens(extraBody);
}

function withContextTokens(contextTokens: number | undefined) {
  return contextTokens === undefined ? {} : { contextTokens };
}

/** Sends a request, and turns the bytes of its answer into deltas and the answer. */
function openCall(transport: Transport, options: HttpProviderOptions, call: ProviderCall, events: ProviderEvents): ProviderStream {
  const { name, dialect, headers } = options;
  const { model, request, maxOutputTokens, timeoutMs, traceparent } = call;
  const merger = mergeDeltas(events.delta);
  let told: Pick<AnswerHead, 'retryAfterMs' | 'requestId'> = {};
  const tokens = new ReceivedTokens();
  const decoder = dialect.decoder({
    provider: name,
    model,
    onDelta(kind, text) {
      came(text);
      merger.add(kind, text);
    },
    onCallText: came,
    tools: request.tools,
    ...(options.maxAnswerChars === undefined ? {} : { maxAnswerChars: options.maxAnswerChars }),
    answered: () => told,
    secrets: options.secrets,
  });
  /** Of all pieces, each rounded up; and as much of that as was told. */
  let most = 0;
  let toldOf = 0;
  function came(text: string): void {
    tokens.add(text, maxOutputTokens + mostExcessTokens); // more is not charged
    most += estimateTextTokens(text);
  }
  /** More has come than was granted: what follows is not read. */
  let overran = false;
  /** It came in one piece. */
  let whole = false;
  const limited = {
    event(event: string, data: string) {
      if (overran) return;
      decoder.event(event, data);
      overran = tokens.least > maxOutputTokens;
    },
    document(body: Parameters<typeof decoder.document>[0]) {
      whole = true;
      decoder.document(body);
    },
  };
  let reader: AnswerReader | null = null;
  /** Of what came and was read no further. */
  let unreadTokens = 0;
  let sent = false;

  function finish(): void {
    const answer = overran ? { ...decoder.partial(), overran } : decoder.answer();
    merger.flush(); // what was held back for its other half
    if (overran) stream.abort();
    else stream.detach();
    events.done(answer);
  }

  const stream = transport.stream(
    {
      path: dialect.path,
      model,
      timeoutMs,
      headers: {
        ...headers,
        'idempotency-key': request.idempotencyKey,
        ...(traceparent === undefined ? {} : { traceparent }),
      },
      body: dialect.encode(request, { model, maxOutputTokens }),
    },
    {
      sent() {
        sent = true;
      },
      head({ status, contentType, ...rest }) {
        told = rest;
        const maxBytes = baseAnswerBytes + maxOutputTokens * bytesPerToken;
        reader = createAnswerReader({ provider: name, model, status, contentType, decoder: limited, maxBytes, maxOutputTokens });
      },
      data(chunk) {
        try {
          reader?.push(chunk);
        } catch (error) {
          unreadTokens = tokensOfUnread(reader?.unread() ?? '', maxOutputTokens + mostExcessTokens);
          throw error;
        } finally {
          merger.flush();
        }
        if (overran || decoder.isFinished()) return finish();
        if (most < toldOf + (toldOf < progressTokens ? firstProgressTokens : progressTokens)) return;
        toldOf = most;
        events.progress?.(most);
      },
      end() {
        try {
          reader?.end();
        } finally {
          merger.flush();
        }
        finish();
      },
      error: (error) => events.failed(error),
    },
  );
  return {
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    abort: () => stream.abort(),
    progress: () => ({
      sent,
      usage: decoder.usage(),
      accounted: decoder.isAccounted(),
      final: whole || decoder.isFinished(),
      begun: decoder.hasBegun(),
      streamedTokens: decoder.streamedTokens(),
      receivedTokens: tokens.least + unreadTokens,
    }),
  };
}

/** More than any answer that was asked for holds; below it, what is not read is the frame of an event. */
const leastUnreadChars = 1_000_000;

/** What was sent in an event that is too long to be read has at least: blanks and lines without data are no tokens. */
function tokensOfUnread(text: string, most: number): number {
  if (text.length < leastUnreadChars) return 0;
  const tokens = new ReceivedTokens();
  tokens.add(text, most);
  return tokens.least;
}

/** Deltas of one network chunk are passed on as one: fewer wake-ups, same text. */
function mergeDeltas(emit: (kind: DeltaKind, text: string) => void) {
  let pendingKind: DeltaKind = 'text';
  let pending = '';
  const flush = () => {
    if (pending === '') return;
    const text = pending;
    pending = '';
    emit(pendingKind, text);
  };
  return {
    add(kind: DeltaKind, text: string): void {
      if (kind !== pendingKind) {
        flush();
        pendingKind = kind;
      }
      pending += text;
    },
    flush,
  };
}
