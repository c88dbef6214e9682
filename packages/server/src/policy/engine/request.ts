import type { CedarValueJson, EntityJson, StatefulAuthorizationCall } from '@cedar-policy/cedar-wasm/nodejs';
import { dictionary } from '@nexus-agent/protocol';
import { canonicalJson } from '#core';
import {
  type ArgumentTypes,
  agentId,
  contextFacts,
  type DecisionRequest,
  InvalidRequest,
  type Reads,
  type ResourceFacts,
  resourceAttributes,
  type ValueKind,
} from '#policy/compile';

type Attributes = Record<string, CedarValueJson>;

/** The part of a Cedar call that depends on the request. */
export type CedarRequest = Pick<StatefulAuthorizationCall, 'principal' | 'action' | 'resource' | 'context' | 'entities'>;

const unreadTime = '1970-01-01T00:00:00.000Z';

/**
 * The request as Cedar sees it, with only what the policies can read: attributes and facts that no policy reads are left
 * out, or hold a constant where the schema requires them. Throws {@link InvalidRequest}.
 */
export function projectRequest(
  request: DecisionRequest,
  resource: ResourceFacts,
  reads: Reads,
  argumentTypes: ArgumentTypes,
  nowMs: () => number,
): CedarRequest {
  const { principal, action } = request;
  const principalId = principalIdOf(principal);
  const principalUid = { type: principal.type, id: principalId };
  const resourceUid = { type: resource.type, id: resource.id };
  const resourceValues: Attributes = dictionary({ ...resource.derived });
  for (const [name, kind] of Object.entries(resourceAttributes[resource.type])) {
    const value = name === 'port' ? resource.port : request.resource.attributes?.[name];
    if (value === undefined) continue;
    const converted = convert(`resource attribute ${name}`, value, kind);
    if (reads.everything || reads.resource.has(name)) resourceValues[name] = converted;
  }

  const principalValues: Attributes = { name: principalId, tenant: principal.tenant };
  if (principal.type === 'User')
    principalValues.roles = reads.everything || reads.principal.has('roles') ? [...(principal.roles ?? [])] : [];
  else {
    principalValues.origin = principal.origin ?? 'operator';
    if (principal.version !== undefined && (reads.everything || reads.principal.has('version')))
      principalValues.version = principal.version;
  }

  // An agent that acts on itself is one entity.
  const same = principal.type === resource.type && principalId === resource.id;
  const entities: EntityJson[] = same
    ? [{ uid: principalUid, attrs: { ...principalValues, ...resourceValues }, parents: [] }]
    : [
        { uid: principalUid, attrs: principalValues, parents: [] },
        { uid: resourceUid, attrs: resourceValues, parents: [] },
      ];
  return {
    principal: principalUid,
    action: { type: 'Action', id: action },
    resource: resourceUid,
    context: projectContext(request.context, reads, argumentTypes, nowMs),
    entities,
  };
}

/** A person by the id of their key, an agent by its name, which is its tenant's where that defined it. */
export function principalIdOf({ type, id, tenant, origin }: DecisionRequest['principal']): string {
  return type === 'Agent' ? agentId(id, tenant, origin) : id;
}

function projectContext(context: DecisionRequest['context'], reads: Reads, argumentTypes: ArgumentTypes, nowMs: () => number): Attributes {
  const isRead = (name: string) => reads.everything || reads.context.has(name);
  const facts: Attributes = dictionary({
    arguments: projectArguments(context.arguments, reads, argumentTypes),
    argumentsJson: isRead('argumentsJson') ? canonicalJson(context.arguments ?? {}) : '',
    time: { __extn: { fn: 'datetime', arg: isRead('time') ? new Date(nowMs()).toISOString() : unreadTime } },
    priceKnown: isRead('priceKnown') && context.priceKnown === true,
  });
  for (const [name, kind] of Object.entries(contextFacts)) {
    const value = context[name as keyof typeof contextFacts]; // the keys of the record are exactly these
    if (value === undefined) continue;
    const converted = convert(name, value, kind);
    if (isRead(name)) facts[name] = converted;
  }
  if (context.approved !== undefined && isRead('approved')) {
    const { by, role } = context.approved;
    facts.approved = {
      by: convert('approved.by', by, 'String'),
      ...(role === undefined ? {} : { role: convert('approved.role', role.toLowerCase(), 'String') }),
    };
  }
  return facts;
}

/** Top-level arguments that policies read, as the type they read them as; one of another type cannot be judged. */
function projectArguments(value: unknown, reads: Reads, types: ArgumentTypes): Attributes {
  // Pairs, since an argument may be called `__proto__`.
  const projected: [string, CedarValueJson][] = [];
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    if (value === undefined || types.size === 0) return Object.fromEntries(projected);
    if (reads.everything || reads.arguments.size > 0) throw new InvalidRequest('the arguments are not an object');
    return Object.fromEntries(projected);
  }
  for (const name of reads.everything ? types.keys() : reads.arguments) {
    const kind = types.get(name);
    if (kind === undefined || !Object.hasOwn(value, name)) continue;
    const argument = (value as Record<string, unknown>)[name]; // an object has string keys
    if (argument !== undefined) projected.push([name, convert(`argument ${name}`, argument, kind)]);
  }
  return Object.fromEntries(projected);
}

function convert(what: string, value: unknown, kind: ValueKind): CedarValueJson {
  switch (kind) {
    case 'String':
      if (typeof value === 'string') return value;
      break;
    case 'Long':
      if (typeof value === 'number' && Number.isSafeInteger(value)) return value === 0 ? 0 : value; // no negative zero
      break;
    case 'Boolean':
      if (typeof value === 'boolean') return value;
      break;
    case 'Strings':
      if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
      break;
    case 'Decimal':
      if (typeof value === 'number' && Math.abs(value) < 1e11 && Number(value.toFixed(4)) === value)
        return { __extn: { fn: 'decimal', arg: value.toFixed(4) } };
      break;
    case 'Presence':
      return true;
    default: {
      const unreachable: never = kind;
      throw new Error(`no such kind of value: ${String(unreachable)}`);
    }
  }
  throw new InvalidRequest(`${what} is not ${expectation[kind]}, as the policies expect`);
}

const expectation: Record<ValueKind, string> = dictionary({
  String: 'a text',
  Long: 'a whole number',
  Boolean: 'true or false',
  Strings: 'a list of texts',
  Decimal: 'a number with at most 4 decimals',
  Presence: 'there',
});
