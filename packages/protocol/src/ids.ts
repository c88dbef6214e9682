import { z } from 'zod';
import { dictionary } from './dictionary.ts';

/**
 * Identifiers are TypeIDs (https://github.com/jetify-com/typeid, specification 0.3): a lower-case prefix, an
 * underscore, and a UUIDv7 as 26 characters of Crockford base32. They sort by creation time within a prefix.
 */
const suffix = /^[0-7][0-9a-hjkmnp-tv-z]{25}$/;

/** Prefix of each kind of identifier. Tests pin this table: a stored id must stay readable for ever. */
export const idPrefixes = dictionary({
  session: 'ses',
  run: 'run',
  call: 'call',
  message: 'msg',
  approval: 'apr',
  reservation: 'rsv',
  ledgerEntry: 'led',
  decision: 'dec',
  key: 'key',
  agentVersion: 'agv',
  worker: 'wrk',
  error: 'err',
  request: 'req',
  artifact: 'art',
} as const);

export type IdKind = keyof typeof idPrefixes;

/** True when `value` is a well-formed TypeID with the given prefix. */
export function isTypeId(prefix: string, value: string): boolean {
  return value.startsWith(`${prefix}_`) && suffix.test(value.slice(prefix.length + 1));
}

function idSchema<Brand extends string>(kind: IdKind) {
  const prefix = idPrefixes[kind];
  return z
    .string()
    .refine((value) => isTypeId(prefix, value), { error: `expected an id like ${prefix}_01h455vb4pex5vsknk084sn02q` })
    .brand<Brand>()
    .meta({ description: `TypeID with prefix ${prefix}`, pattern: `^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$` });
}

export const SessionId = idSchema<'SessionId'>('session');
export type SessionId = z.infer<typeof SessionId>;
export const RunId = idSchema<'RunId'>('run');
export type RunId = z.infer<typeof RunId>;
export const MessageId = idSchema<'MessageId'>('message');
export type MessageId = z.infer<typeof MessageId>;
export const ReservationId = idSchema<'ReservationId'>('reservation');
export type ReservationId = z.infer<typeof ReservationId>;

/** A tenant is named by people: lower-case letters, digits and dashes. */
export const TenantId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, { error: 'expected 1 to 63 lower-case letters, digits or dashes' })
  .brand<'TenantId'>();
export type TenantId = z.infer<typeof TenantId>;
