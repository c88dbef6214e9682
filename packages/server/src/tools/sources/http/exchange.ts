import type { Dispatcher } from 'undici';
import { NexusError } from '#core';
import type { ToolContext } from '#tools/contract';
import { type EgressOptions, hostnameOf, portOf, redirectStatuses, requireAllowedUrl } from '#tools/net';
import { httpFailure } from './failures.ts';
import type { HttpRequest } from './make-request.ts';
import type { RequestPlan } from './plan.ts';

const maxRedirects = 5;
/** What goes along to another host, scheme or port: any other header was meant for the one that the definition names. */
const plainHeaders = new Set(['accept', 'accept-language']);

export interface ExchangeOptions {
  readonly agent: Dispatcher;
  readonly egress: Pick<EgressOptions, 'allowPrivate'>;
  readonly idleTimeoutMs: number;
  /** Told the status of each redirect, before it is followed or refused. */
  readonly onRedirect: (status: number) => void;
}

/**
 * Sends the request and follows redirects, as far as the definition lets them lead: each hop is asked of policy. To another origin goes
 * neither a header of the definition nor a body. The body of the answer is the caller's to read or to destroy.
 */
export async function exchange(
  request: HttpRequest,
  plan: Pick<RequestPlan, 'redirects' | 'timeoutMs'>,
  context: ToolContext,
  { agent, egress, idleTimeoutMs, onRedirect }: ExchangeOptions,
): Promise<Dispatcher.ResponseData> {
  let { url, method, target: path, headers, body } = request;
  for (let redirects = 0; ; redirects += 1) {
    await requireHost(url, method, context, egress);
    const response = await agent.request({
      ...{ origin: url.origin, path, body },
      method: method as Dispatcher.HttpMethod, // one of those that definitions may name
      headers: { 'user-agent': 'nexus-agent', accept: '*/*', ...headers, 'accept-encoding': 'identity', 'x-nexus-fetch': '1' },
      signal: context.signal,
      headersTimeout: plan.timeoutMs,
      bodyTimeout: Math.min(idleTimeoutMs, plan.timeoutMs),
    });
    // A body that is left early, by us or with the agent, raises an error that has no other listener.
    response.body.on('error', () => undefined);
    const { location } = response.headers;
    if (!redirectStatuses.has(response.statusCode) || typeof location !== 'string') return response;
    response.body.destroy();
    const status = response.statusCode;
    onRedirect(status);
    const next = URL.parse(location, url.href);
    if (next === null) throw httpFailure('redirect', `the server answered ${status} with an address that is none`, { status });
    if (redirects >= maxRedirects) throw httpFailure('redirect', `the server redirects more than ${maxRedirects} times`, { status });
    const elsewhere = next.origin !== url.origin;
    if (plan.redirects === 'none' || (elsewhere && plan.redirects !== 'any')) {
      throw httpFailure(
        'redirect',
        `the server redirects (${status}) to ${next.protocol}//${hostnameOf(next)}, which the definition of the tool does not allow`,
        {
          status,
        },
      );
    }
    if (status === 303 || (status < 303 && method === 'POST')) {
      if (method !== 'HEAD') method = 'GET';
      body = null;
    }
    if (elsewhere) {
      if (body !== null)
        throw httpFailure('redirect', `the server redirects (${status}) what was sent to ${hostnameOf(next)}, where no body is sent`, {
          status,
        });
      headers = Object.fromEntries(Object.entries(headers).filter(([name]) => plainHeaders.has(name)));
    }
    if (body === null) headers = Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'content-type'));
    next.hash = '';
    url = next;
    path = `${next.pathname}${next.search}`;
  }
}

async function requireHost(url: URL, method: string, context: ToolContext, egress: Pick<EgressOptions, 'allowPrivate'>): Promise<void> {
  requireAllowedUrl(url, egress);
  const resource = hostnameOf(url);
  const port = portOf(url);
  const verdict = await context.authorize({
    action: 'net.egress',
    resource,
    context: { port, method, scheme: url.protocol.slice(0, -1), private: egress.allowPrivate?.(resource, port) === true },
  });
  if (!verdict.allowed) throw new NexusError(verdict.error.code, verdict.error.message, { details: verdict.error.details ?? {} });
}
