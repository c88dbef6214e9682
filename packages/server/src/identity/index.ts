/** The door of identity: who asks, and the keys that prove it. */
export { type CreateOptions, claimOf, idempotencyConflict } from './idempotency.ts';
export { type KeySecrets, keySecretFingerprint, missingKeySecretError, openKeySecrets } from './key-secrets.ts';
export { createKeys, type Keys } from './keys.ts';
export type { Principal } from './principal.ts';
