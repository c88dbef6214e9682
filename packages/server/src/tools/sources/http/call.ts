import type { Dispatcher } from 'undici';
import { type createShares, NexusError, type SecretValues, type Timers } from '#core';
import type { ToolContext, ToolResult } from '#tools/contract';
import { createEgressAgent, type createNameResolver, type EgressOptions, hostnameOf, portOf } from '#tools/net';
import { exchange } from './exchange.ts';
import { explainExchange, httpFailure } from './failures.ts';
import { type Arguments, type HttpRequest, makeRequest } from './make-request.ts';
import type { RequestPlan } from './plan.ts';
import { readAnswer } from './read-answer.ts';
import type { ToolSecrets } from './secrets.ts';

/** What all calls of HTTP tools share. */
export interface HttpCallEnvironment {
  readonly timers: Pick<Timers, 'soon' | 'sleep'>;
  readonly shares: ReturnType<typeof createShares>;
  readonly names: ReturnType<typeof createNameResolver>;
  readonly egress: Partial<EgressOptions>;
  readonly idleTimeoutMs: number;
  readonly secrets: ToolSecrets;
  /** The values of all secrets, to be taken out of what servers say. */
  readonly known: SecretValues;
}

/** The server is waited for no longer than this before a call is repeated. */
const maxRetryAfterMs = 30_000;
const firstPauseMs = 250;

/** How far a call came, for what its failure means. */
interface Progress {
  /** A connection stood: something may have been sent. */
  connected: boolean;
  /** The server answered, so that what it did is known from what it said. */
  answered: boolean;
  /** A redirect was followed, so that what fails may be another server than the one that the definition names. */
  redirected: boolean;
}

/** One call of a tool: asks for what it touches, sends the request, perhaps again, and reads the answer. */
export async function callHttp(
  environment: HttpCallEnvironment,
  plan: RequestPlan,
  typed: boolean,
  input: Arguments,
  context: ToolContext,
): Promise<ToolResult> {
  const { tenantId, sessionId, runId, signal } = context;
  const progress: Progress = { connected: false, answered: false, redirected: false };
  let turn: Awaited<ReturnType<HttpCallEnvironment['shares']['enter']>> | undefined;
  try {
    makeRequest(plan, input, () => 'x'); // what is wrong with the arguments is told before anything is asked
    turn = await environment.shares.enter({ tenantId, sessionId, runId }, signal);
    context.onWait(turn.waitedMs);
    const request = makeRequest(plan, input, await secretsFor(environment, plan, context));
    const sent = plan.effects === 'once' ? withKey(request, context.idempotencyKey) : request;
    return { type: 'ok', output: await repeated(environment, plan, typed, sent, context, progress) };
  } catch (error) {
    return failedWith(error, plan, signal, progress);
  } finally {
    turn?.leave();
  }
}

/**
 * A call that can be made once only and may have reached the server without an answer has an unknown outcome; what certainly was not sent
 * is a plain failure, also when the call was told to stop meanwhile.
 */
function failedWith(
  error: unknown,
  { effects, toolName, base }: RequestPlan,
  signal: AbortSignal,
  { connected, answered, redirected }: Progress,
): ToolResult {
  const aborted = signal.aborted && (!(error instanceof NexusError) || error === signal.reason || error.code === 'cancelled');
  if (aborted && (effects !== 'once' || connected)) throw error; // whoever called knows what became of it
  const named = redirected ? '' : `${hostnameOf(base)}:${portOf(base)}`;
  const why = aborted ? stopped(signal) : explainExchange(error, named);
  if (effects !== 'once' || !connected || answered) return { type: 'error', error: why.toInfo() };
  const message = `${why.message}; the request may have been sent, and whether ${toolName} took effect is not known`;
  return { type: 'error', error: { code: 'tool_outcome_unknown', message, retryable: false, details: { cause: why.code } } };
}

function stopped(signal: AbortSignal): NexusError {
  const reason = signal.reason instanceof NexusError ? signal.reason : null;
  if (reason !== null && reason.code !== 'cancelled') return reason;
  return httpFailure('connection', 'the call was cancelled before anything was sent');
}

/** Asks policy about each secret, then for its value. Throws before anything is sent. */
async function secretsFor({ secrets }: HttpCallEnvironment, plan: RequestPlan, context: ToolContext): Promise<(name: string) => string> {
  const to = { hostname: hostnameOf(plan.base), port: portOf(plan.base) };
  const values = new Map<string, string>();
  for (const name of plan.secrets) {
    const value = secrets.find(context.tenantId, name, to);
    if (value === null) {
      throw httpFailure(
        'secret',
        `there is no secret ${name} that may be sent to ${to.hostname}; whoever runs the server adds it to secrets, and for other tenants to secretGrants; nothing was sent`,
      );
    }
    const verdict = await context.authorize({ action: 'secret.use', resource: name });
    if (!verdict.allowed) throw new NexusError(verdict.error.code, verdict.error.message, { details: verdict.error.details ?? {} });
    values.set(name, value);
  }
  return (name) => values.get(name) ?? '';
}

function withKey(request: HttpRequest, key: string): HttpRequest {
  return { ...request, headers: { 'idempotency-key': key, ...request.headers } };
}

async function repeated(
  environment: HttpCallEnvironment,
  plan: RequestPlan,
  typed: boolean,
  request: HttpRequest,
  context: ToolContext,
  progress: Progress,
): Promise<unknown> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await attemptOnce(environment, plan, typed, request, context, progress);
    } catch (error) {
      const pauseMs = context.signal.aborted ? null : pauseBefore(error, plan, attempt);
      if (pauseMs === null) throw error;
      await environment.timers.sleep(pauseMs, context.signal);
    }
  }
}

/** How long to wait before the request is sent again; null for not again. */
function pauseBefore(error: unknown, { retries }: RequestPlan, attempt: number): number | null {
  if (attempt >= retries) return null;
  const { details, retryAfterMs, code } = explainExchange(error);
  if (code !== 'tool_failed') return null;
  const busy = details?.reason === 'status' && (details.status === 429 || details.status === 503);
  if (!busy && details?.reason !== 'connection') return null;
  const pauseMs = retryAfterMs ?? firstPauseMs * 2 ** attempt;
  return pauseMs > maxRetryAfterMs ? null : pauseMs;
}

/** Nothing is kept between requests: no connection, no cookie. */
async function attemptOnce(
  { timers, names, egress, idleTimeoutMs, known }: HttpCallEnvironment,
  plan: RequestPlan,
  typed: boolean,
  request: HttpRequest,
  context: ToolContext,
  progress: Progress,
): Promise<unknown> {
  const { signal } = context;
  const agent: Dispatcher = createEgressAgent({
    resolve: (hostname, granted) => (granted ? names.ofOperator(hostname) : names.ofOutside(hostname, signal)),
    ...egress,
    onConnected: () => {
      progress.connected = true;
      progress.answered = false;
    },
  });
  try {
    // A server that sends the request elsewhere as it is did nothing; one that shows where to look on may have.
    const onRedirect = (status: number) => {
      progress.answered = status >= 307;
      progress.redirected = true;
    };
    const response = await exchange(request, plan, context, { agent, egress, idleTimeoutMs, onRedirect });
    const { method, response: mapping } = plan;
    return await readAnswer(response, { mapping, method, typed, secrets: known, signal, timers }).catch((error: unknown) => {
      // An answer that was understood as far as its fault tells what became of the request; one that broke off does not.
      progress.answered = error instanceof NexusError && error !== signal.reason;
      throw error;
    });
  } finally {
    await agent.destroy();
  }
}
