import type { CedarValueJson, EntityJson, StatefulAuthorizationCall } from '@cedar-policy/cedar-wasm/nodejs';
import { dictionary } from '@nexus-agent/protocol';
import { canonicalJson } from '#core';
import {
  type ArgumentTypes,
  agentId,
  appliesTo,
  contextFacts,
  type DecisionRequest,
  InvalidRequest,
  type QuestionValues,
  type Reads,
  type ResourceFacts,
  resourceAttributes,
  type ValueKind,
} from '#policy/compile';

type Attributes = Record<string, CedarValueJson>;

/** The part of a Cedar call that depends on the request. */
export type CedarRequest = Pick<StatefulAuthorizationCall, 'principal' | 'action' | 'resource' | 'context' | 'entities'>;

/** A question as it is put to Cedar, and the values in it. */
export interface Projected {
  readonly call: CedarRequest;
  readonly values: QuestionValues;
}

/**
 * The request as Cedar sees it, with only what the policies can read: attributes and facts that no policy reads are left
 * out. What Cedar would hold against the schema is held here, by the tables that the schema is written from: that the action
 * is done by such a principal to such a resource, and that each value is of its type. Throws {@link InvalidRequest}.
 */
export function projectRequest(
  request: DecisionRequest,
  resource: ResourceFacts,
  reads: Reads,
  argumentTypes: ArgumentTypes,
  nowMs: () => number,
): Projected {
  const { principal, action } = request;
  requireApplicable(request);
  const principalId = principalIdOf(principal);
  // Half of a surrogate pair is no text that Cedar can be given: it would fail in a way that harms its memory.
  for (const id of [principalId, resource.id]) if (!id.isWellFormed()) throw new InvalidRequest(`${JSON.stringify(id)} is no text`);
  const principalUid = { type: principal.type, id: principalId };
  const resourceUid = { type: resource.type, id: resource.id };
  const resourceValues: Attributes = dictionary({});
  for (const [name, value] of Object.entries(resource.derived)) {
    if (reads.everything || reads.resource.has(name)) resourceValues[name] = convert(`resource attribute ${name}`, value, 'String');
  }
  for (const [name, kind] of Object.entries(resourceAttributes[resource.type])) {
    const value = name === 'port' ? resource.port : request.resource.attributes?.[name];
    if (value === undefined) continue;
    const converted = convert(`resource attribute ${name}`, value, kind);
    if (reads.everything || reads.resource.has(name)) resourceValues[name] = converted;
  }

  const principalValues: Attributes = dictionary({});
  for (const [name, value] of Object.entries(principalFacts(principal, principalId))) {
    if (value === undefined || !(reads.everything || reads.principal.has(name))) continue;
    principalValues[name] = convert(`principal attribute ${name}`, value, name === 'roles' ? 'Strings' : 'String');
  }

  // An agent that acts on itself is one entity. One without attributes need not be there: it is known by its id.
  const same = principal.type === resource.type && principalId === resource.id;
  const both = same ? { ...principalValues, ...resourceValues } : null;
  const entities: EntityJson[] = [];
  addEntity(entities, principalUid, both ?? principalValues);
  if (both === null) addEntity(entities, resourceUid, resourceValues);
  const actionUid = { type: 'Action', id: action };
  const { group } = appliesTo[action];
  if (group !== undefined) entities.push({ uid: actionUid, attrs: {}, parents: [{ type: 'Action', id: group }] });
  const context = projectContext(request.context, reads, argumentTypes, nowMs);
  return {
    call: { principal: principalUid, action: actionUid, resource: resourceUid, context, entities },
    values: { principal: both ?? principalValues, resource: both ?? resourceValues, context },
  };
}

function requireApplicable({ principal, action, resource }: DecisionRequest): void {
  if (!Object.hasOwn(appliesTo, action)) throw new InvalidRequest(`there is no action ${JSON.stringify(action)}`);
  const applies = appliesTo[action];
  if (!applies.principals.includes(principal.type)) throw new InvalidRequest(`${principal.type} is no principal of ${action}`);
  if (applies.resource !== resource.type) throw new InvalidRequest(`${resource.type} is no resource of ${action}`);
}

function principalFacts({ type, tenant, roles, origin, version }: DecisionRequest['principal'], name: string): Record<string, unknown> {
  return type === 'User' ? { name, tenant, roles: roles ?? [] } : { name, tenant, origin: origin ?? 'operator', version };
}

function addEntity(entities: EntityJson[], uid: { type: string; id: string }, attrs: Attributes): void {
  if (Object.keys(attrs).length > 0) entities.push({ uid, attrs, parents: [] });
}

/** A person by the id of their key, an agent by its name, which is its tenant's where that defined it. */
export function principalIdOf({ type, id, tenant, origin }: DecisionRequest['principal']): string {
  return type === 'Agent' ? agentId(id, tenant, origin) : id;
}

function projectContext(context: DecisionRequest['context'], reads: Reads, argumentTypes: ArgumentTypes, nowMs: () => number): Attributes {
  const isRead = (name: string) => reads.everything || reads.context.has(name);
  const facts: Attributes = dictionary({});
  const given = projectArguments(context.arguments, reads, argumentTypes);
  if (isRead('arguments') || reads.arguments.size > 0) facts.arguments = given;
  if (isRead('argumentsJson')) facts.argumentsJson = canonicalJson(context.arguments ?? {});
  if (isRead('time')) facts.time = { __extn: { fn: 'datetime', arg: new Date(nowMs()).toISOString() } };
  if (isRead('priceKnown')) facts.priceKnown = context.priceKnown === true;
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
      if (isReadable(value)) return value;
      break;
    case 'Long':
      if (typeof value === 'number' && Number.isSafeInteger(value)) return value === 0 ? 0 : value; // no negative zero
      break;
    case 'Boolean':
      if (typeof value === 'boolean') return value;
      break;
    case 'Strings':
      if (Array.isArray(value) && value.every(isReadable)) return value;
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

function isReadable(value: unknown): value is string {
  return typeof value === 'string' && value.isWellFormed();
}

const expectation: Record<ValueKind, string> = dictionary({
  String: 'a text',
  Long: 'a whole number',
  Boolean: 'true or false',
  Strings: 'a list of texts',
  Decimal: 'a number with at most 4 decimals',
  Presence: 'there',
});
