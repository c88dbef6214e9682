import { isTooDeep, NexusError, redactForeignText, type SecretValues } from '#core';
import { providerError } from '#llm/dialects';
import type { ProviderConnections } from './connections.ts';
import type { ReceivedHead } from './head.ts';
import { versionHint } from './model-list.ts';
import { proxyRefusal } from './proxy.ts';
import { proxyFailure, type Way } from './reach.ts';

/** Of a body that says why. */
export const maxErrorBodyBytes = 64 * 1024;

interface Asked extends Way {
  readonly secrets?: SecretValues | undefined;
  readonly connections: ProviderConnections;
}

/** An answer whose status is no success, with as much of its body as says why. */
export interface Refusal {
  /** The bytes so far. */
  add(chunk: Buffer): number;
  error(): NexusError;
}

export function createRefusal(asked: Asked, model: string, { contentType: _, location, ...told }: ReceivedHead): Refusal {
  const { provider, secrets } = asked;
  const { forwarder } = asked.connections;
  const chunks: Buffer[] = [];
  let bytes = 0;
  return {
    add(chunk) {
      chunks.push(chunk);
      bytes += chunk.length;
      return bytes;
    },
    error() {
      if (told.status === 407 && forwarder !== null) return proxyFailure(asked, proxyRefusal(forwarder, 407), model);
      if (told.status < 400) return redirected(asked, model, told.status, location);
      const body = parseBody(Buffer.concat(chunks).subarray(0, maxErrorBodyBytes).toString('utf8'));
      const isWrongPlace = (told.status === 404 || told.status === 405) && new URL(asked.baseUrl).pathname === '/';
      return providerError({ provider, model, body, secrets, ...told, ...(isWrongPlace ? { hint: versionHint } : {}) });
    },
  };
}

/** Redirects are not followed: they would carry the key elsewhere. */
function redirected({ provider, baseUrl, secrets }: Asked, model: string, status: number, location = ''): NexusError {
  const target = URL.parse(location, baseUrl);
  const named = target === null || location === '' ? 'elsewhere' : `${target.origin}${target.pathname}`;
  const where = redactForeignText(secrets?.inForeign(named) ?? named).slice(0, 200);
  const message = `${provider} redirects requests to ${where} (status ${status}), which is not followed; check the base URL`;
  return new NexusError('provider_rejected', message, { details: { provider, model, status } });
}

/** Text that is no JSON is the message. */
export function parseBody(text: string): unknown {
  if (isTooDeep(text)) return null;
  try {
    return JSON.parse(text);
  } catch {
    return text.length === 0 ? null : { message: withoutTags(text.slice(0, maxErrorBodyBytes)) };
  }
}

/** In one pass, whatever marks are left open. */
function withoutTags(text: string): string {
  let kept = '';
  for (let at = 0; at < text.length; ) {
    const open = text.indexOf('<', at);
    const close = open === -1 ? -1 : text.indexOf('>', open);
    if (close === -1) return kept + text.slice(at);
    kept += `${text.slice(at, open)} `;
    at = close + 1;
  }
  return kept;
}
