import { canonicalJson, NexusError, sha256 } from '#core';
import type { IdempotencyClaim } from '#storage';
import type { Principal } from './principal.ts';

export interface CreateOptions {
  /** Of the `Idempotency-Key` header: the same key and request gives the first answer again. */
  readonly idempotencyKey?: string;
}

/** Empty without a key. The hash covers who asks and what for, so that a key never gives one caller another's answer. */
export function claimOf(
  principal: Principal,
  options: CreateOptions,
  what: string,
  request: unknown,
  resourceId: string,
): { readonly idempotency?: IdempotencyClaim } {
  if (options.idempotencyKey === undefined) return {};
  const requestHash = sha256(canonicalJson([what, principal.id, request]));
  return { idempotency: { key: `${what}:${options.idempotencyKey}`, requestHash, resourceId } };
}

export function idempotencyConflict(): NexusError {
  return new NexusError('idempotency_conflict', 'this idempotency key was used for another request; use a new key');
}
