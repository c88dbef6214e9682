import type { Expr, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { dictionary } from '@nexus-agent/protocol';
import { contextFacts, type ValueKind } from './schema.ts';

/**
 * What the conditions of policies can read of a request. Ids are always known and are not listed. A decision depends on
 * nothing else, so this is both what has to be passed to Cedar and what makes two requests equal.
 */
export interface Reads {
  readonly principal: ReadonlySet<string>;
  readonly resource: ReadonlySet<string>;
  readonly context: ReadonlySet<string>;
  readonly arguments: ReadonlySet<string>;
  /** Some condition looks at a request in a way that cannot be followed: it may read everything. */
  readonly everything: boolean;
}

interface Collected {
  readonly principal: Set<string>;
  readonly resource: Set<string>;
  readonly context: Set<string>;
  readonly arguments: Map<string, Set<ValueKind>>;
  everything: boolean;
}

export interface Analysis {
  readonly reads: Reads;
  /** How each argument is used; `Presence` alone when it is only tested with `has`. */
  readonly argumentUses: ReadonlyMap<string, ReadonlySet<ValueKind>>;
}

/** A policy reads an argument in a way that gives it no type; the message tells what to write instead. */
export class UnreadableArgument extends Error {}

export function analyse(policy: PolicyJson): Analysis {
  const found: Collected = { principal: new Set(), resource: new Set(), context: new Set(), arguments: new Map(), everything: false };
  for (const clause of policy.conditions) walk(clause.body, 'Boolean', found);
  return {
    reads: {
      principal: found.principal,
      resource: found.resource,
      context: found.context,
      arguments: new Set(found.arguments.keys()),
      everything: found.everything,
    },
    argumentUses: found.arguments,
  };
}

export function unionOfReads(all: readonly Reads[]): Reads {
  return {
    principal: new Set(all.flatMap((reads) => [...reads.principal])),
    resource: new Set(all.flatMap((reads) => [...reads.resource])),
    context: new Set(all.flatMap((reads) => [...reads.context])),
    arguments: new Set(all.flatMap((reads) => [...reads.arguments])),
    everything: all.some((reads) => reads.everything),
  };
}

/** `expected` is the type that the surrounding operator asks of this expression. */
function walk(expression: Expr, expected: ValueKind | undefined, found: Collected): void {
  for (const [operator, operand] of Object.entries(expression)) walkOperator(operator, operand, expected, found);
}

/** The type that an operator asks of its operands, where it is the same for all. */
const operandKinds: Readonly<Record<string, ValueKind>> = dictionary({
  '&&': 'Boolean',
  '||': 'Boolean',
  '!': 'Boolean',
  '<': 'Long',
  '<=': 'Long',
  '>': 'Long',
  '>=': 'Long',
  '+': 'Long',
  '-': 'Long',
  '*': 'Long',
  neg: 'Long',
  containsAll: 'Strings',
  containsAny: 'Strings',
  isEmpty: 'Strings',
  lessThan: 'Decimal',
  lessThanOrEqual: 'Decimal',
  greaterThan: 'Decimal',
  greaterThanOrEqual: 'Decimal',
});

/** The casts in here follow the shapes that Cedar documents for the JSON of each operator. */
function walkOperator(operator: string, operand: unknown, expected: ValueKind | undefined, found: Collected): void {
  switch (operator) {
    case 'Value':
    case 'Slot':
      break;
    case 'Var':
      // The id of a principal, action or resource; the whole context is more than can be followed.
      if (operand === 'context') found.everything = true;
      break;
    case '.': {
      const { left, attr } = operand as { left: Expr; attr: string };
      access(left, [attr], expected, found);
      break;
    }
    case 'has': {
      const { left, attr } = operand as { left: Expr; attr: string | string[] };
      access(left, typeof attr === 'string' ? [attr] : attr, 'Presence', found);
      break;
    }
    case 'like':
      walk((operand as { left: Expr }).left, 'String', found);
      break;
    case '==':
    case '!=': {
      const { left, right } = operand as { left: Expr; right: Expr };
      const kind = kindOf(left) ?? kindOf(right);
      walk(left, kind, found);
      walk(right, kind, found);
      break;
    }
    case 'contains': {
      const { left, right } = operand as { left: Expr; right: Expr };
      walk(left, 'Strings', found);
      walk(right, elementKindOf(left), found);
      break;
    }
    case 'if-then-else': {
      const branches = operand as { if: Expr; then: Expr; else: Expr };
      walk(branches.if, 'Boolean', found);
      walk(branches.then, expected, found);
      walk(branches.else, expected, found);
      break;
    }
    case 'Set':
      walkAll(operand, expected === 'Strings' ? 'String' : undefined, found);
      break;
    default:
      walkAll(operand, operandKinds[operator], found);
  }
}

/** Reads attributes of an expression. What is not a plain path (a conditional, a literal entity) cannot be followed. */
function access(left: Expr, attributes: readonly string[], expected: ValueKind | undefined, found: Collected): void {
  const base = pathOf(left);
  if (base === undefined) {
    found.everything = true;
    walk(left, undefined, found);
  } else readPath([...base, ...attributes], expected, found);
}

/** Walks all expressions below an operand: its fields, or the items of a list. */
function walkAll(operand: unknown, expected: ValueKind | undefined, found: Collected): void {
  if (operand === null || typeof operand !== 'object') return;
  for (const child of Object.values(operand)) {
    if (child !== null && typeof child === 'object') walk(child as Expr, expected, found); // names are strings; the objects are expressions
  }
}

/** `["context", "arguments", "path"]` for `context.arguments.path`; nothing for any other expression. */
function pathOf(expression: unknown): string[] | undefined {
  if (expression === null || typeof expression !== 'object') return undefined;
  if ('Var' in expression && typeof expression.Var === 'string') return [expression.Var];
  if (!('.' in expression)) return undefined;
  const { left, attr } = expression['.'] as { left: Expr; attr: string }; // the shape that Cedar documents for `.`
  const base = pathOf(left);
  return base === undefined ? undefined : [...base, attr];
}

function readPath(path: readonly string[], expected: ValueKind | undefined, found: Collected): void {
  const [root, first, second, ...deeper] = path;
  if (first === undefined) return;
  if (root === 'principal') found.principal.add(first);
  else if (root === 'resource') found.resource.add(first);
  else if (root === 'context' && first !== 'arguments') found.context.add(first);
  else if (root === 'context') {
    if (second === undefined) {
      if (expected === 'Presence') {
        found.context.add(first);
        return;
      }
      throw new UnreadableArgument('context.arguments can only be read by name, as in context.arguments.path');
    }
    if (deeper.length > 0)
      throw new UnreadableArgument(`${path.join('.')} lies deeper than a top-level argument; match context.argumentsJson instead`);
    const uses = found.arguments.get(second) ?? new Set();
    found.arguments.set(second, uses);
    if (expected === undefined)
      throw new UnreadableArgument(
        `the type of context.arguments.${second} cannot be told from its use; compare it with a literal, or use like, <, contains or a decimal method`,
      );
    uses.add(expected);
  }
}

/** The type of an expression where it is plain to see. */
function kindOf(expression: Expr): ValueKind | undefined {
  if ('Value' in expression) {
    if (typeof expression.Value === 'string') return 'String';
    if (typeof expression.Value === 'number') return 'Long';
    if (typeof expression.Value === 'boolean') return 'Boolean';
  }
  if ('Set' in expression) return 'Strings';
  if ('decimal' in expression) return 'Decimal';
  if ('+' in expression || '-' in expression || '*' in expression || 'neg' in expression) return 'Long';
  if ('&&' in expression || '||' in expression || '!' in expression || 'like' in expression || 'has' in expression) return 'Boolean';
  const path = pathOf(expression);
  if (path?.[0] === 'context' && path.length === 2) {
    const fact = Object.entries(contextFacts).find(([name]) => name === path[1]);
    return fact?.[1];
  }
  if ((path?.[0] === 'principal' || path?.[0] === 'resource') && path.length === 2)
    return stringAttributes.has(path[1] ?? '') ? 'String' : undefined;
  return undefined;
}

const stringAttributes = new Set([
  'name',
  'tenant',
  'ref',
  'model',
  'provider',
  'effects',
  'scheme',
  'authority',
  'origin',
  'version',
  'path',
  'extension',
]);

/** The type of the items of `["a", "b"]`, or of a set attribute. */
function elementKindOf(set: Expr): ValueKind | undefined {
  if ('Set' in set) {
    for (const item of set.Set) {
      const kind = kindOf(item);
      if (kind !== undefined) return kind;
    }
    return undefined;
  }
  return 'String';
}
