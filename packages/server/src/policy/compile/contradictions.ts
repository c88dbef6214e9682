import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { dictionary } from '@nexus-agent/protocol';
import { closest, matchesWildcard } from '#core';
import { pathOfAccess } from './spelling.ts';

/**
 * Why a policy can never apply although each of its parts is well said: what it asks for at once excludes itself, or is a value that
 * requests never have. Null when nothing is seen; it follows `&&`, and nothing that stands under `||`, `!` or `if`.
 */
export function contradiction(policy: PolicyJson): string | null {
  const demands = demandsOf(policy);
  for (const [path, { equal, like, atLeast, atMost, has, hasNot }] of demands) {
    const [one, other] = [...equal];
    const possible = possibleValues[path];
    if (one !== undefined && other !== undefined)
      return `${path} is asked to be ${quoted(one)} and ${quoted(other)} at once, so that it never applies`;
    const pattern = one === undefined ? undefined : like.find((each) => !matchesWildcard(each, one));
    if (one !== undefined && pattern !== undefined)
      return `${path} is asked to be ${quoted(one)} and like ${quoted(pattern)} at once, so that it never applies`;
    if (one !== undefined && possible !== undefined && !possible.includes(one)) return never(path, one, possible);
    const none = possible === undefined ? undefined : like.find((each) => !possible.some((value) => matchesWildcard(each, value)));
    if (none !== undefined && possible !== undefined) return never(path, none, possible);
    if (atLeast > atMost) return `${path} is asked to be at least ${atLeast} and at most ${atMost} at once, so that it never applies`;
    if (has && hasNot) return `${path} is asked to be there and not to be there at once, so that it never applies`;
  }
  return null;
}

/** Values of which there are no others. */
const possibleValues: Readonly<Record<string, readonly string[] | undefined>> = dictionary({
  'resource.effects': ['none', 'idempotent', 'once'],
  'resource.scheme': ['http', 'https', 'tunnel'],
  'resource.kind': ['tool_call', 'unknown_outcome', 'question'],
  'principal.origin': ['operator', 'tenant'],
  'context.answer': ['approve', 'deny', 'done', 'retry', 'fail', 'answer'],
});

function never(path: string, text: string, possible: readonly string[]): string {
  const near = closest(text, possible);
  return `${path} never is ${quoted(text)}; ${near === null ? `it is one of ${possible.join(', ')}` : `did you mean ${quoted(near)}?`}`;
}

interface Demand {
  readonly equal: Set<string>;
  readonly like: string[];
  atLeast: number;
  atMost: number;
  has: boolean;
  hasNot: boolean;
}

/** What all `when` clauses and the scope ask for together, by path. */
function demandsOf({ principal, resource, conditions }: PolicyJson): ReadonlyMap<string, Demand> {
  const demands = new Map<string, Demand>();
  const of = (path: string): Demand => {
    const found = demands.get(path) ?? { equal: new Set(), like: [], atLeast: -Infinity, atMost: Infinity, has: false, hasNot: false };
    demands.set(path, found);
    return found;
  };
  for (const [name, constraint] of [
    ['principal', principal],
    ['resource', resource],
  ] as const) {
    if (constraint.op !== '==' || !('entity' in constraint)) continue;
    const { type, id } = '__entity' in constraint.entity ? constraint.entity.__entity : constraint.entity;
    const attribute = idAttribute[type];
    if (attribute !== undefined) of(`${name}.${attribute}`).equal.add(id);
  }
  for (const { kind, body } of conditions) if (kind === 'when') collect(body, of);
  return demands;
}

/** The attribute that is the id itself. */
const idAttribute: Readonly<Record<string, string | undefined>> = dictionary({
  ...{ Agent: 'name', Tool: 'name', Host: 'name', Secret: 'name', System: 'name' },
  ...{ Model: 'ref', File: 'path', Approval: 'id', Session: 'id', User: 'name' },
});

type Node = Readonly<Record<string, unknown>>;

/** Cedar's JSON of an expression: one operator with its operands. */
function collect(expression: unknown, of: (path: string) => Demand): void {
  for (const [operator, operand] of Object.entries(expression as Node)) {
    const { left, right, pattern, attr, arg } = (operand ?? {}) as Node;
    if (operator === '&&') {
      collect(left, of);
      collect(right, of);
      continue;
    }
    if (operator === 'has') present(left, attr, of, 'has');
    if (operator === '!' && arg !== null && typeof arg === 'object' && 'has' in arg) {
      const { left: base, attr: name } = arg.has as Node;
      present(base, name, of, 'hasNot');
    }
    const path = pathOfAccess(left);
    if (path === null) continue;
    const value = literalOf(right);
    if (operator === '==' && typeof value === 'string') of(path).equal.add(value);
    if (operator === 'like') addPattern(of(path), pattern);
    if (typeof value === 'number') addBound(of(path), operator, value);
  }
}

function present(base: unknown, attr: unknown, of: (path: string) => Demand, which: 'has' | 'hasNot'): void {
  const path = pathOfAccess(base);
  if (path !== null && typeof attr === 'string') of(`${path}.${attr}`)[which] = true;
}

function addPattern({ like }: Demand, pattern: unknown): void {
  const parts = pattern as readonly ('Wildcard' | { readonly Literal: string })[];
  // A star or question mark that is meant as one has no like here.
  if (parts.some((part) => part !== 'Wildcard' && /[*?]/.test(part.Literal))) return;
  like.push(parts.map((part) => (part === 'Wildcard' ? '*' : part.Literal)).join(''));
}

function addBound(demand: Demand, operator: string, value: number): void {
  if (operator === '==' || operator === '>=') demand.atLeast = Math.max(demand.atLeast, value);
  if (operator === '==' || operator === '<=') demand.atMost = Math.min(demand.atMost, value);
  if (operator === '>') demand.atLeast = Math.max(demand.atLeast, value + 1);
  if (operator === '<') demand.atMost = Math.min(demand.atMost, value - 1);
}

function literalOf(expression: unknown): unknown {
  return expression !== null && typeof expression === 'object' && 'Value' in expression ? expression.Value : undefined;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
