import type { CedarValueJson, Clause, Expr } from '@cedar-policy/cedar-wasm/nodejs';

/** The values of a question, as Cedar is given them: an entity that is not there has none. */
export interface QuestionValues {
  readonly principal: Readonly<Record<string, CedarValueJson>>;
  readonly resource: Readonly<Record<string, CedarValueJson>>;
  readonly context: Readonly<Record<string, CedarValueJson>>;
}

/**
 * Whether a condition is met, where that is plain to see: then Cedar's answer is the same, and no error. Undefined is left to Cedar: what errs,
 * and whatever is not written down here.
 */
export type Test<Result = boolean> = (values: QuestionValues) => Result | undefined;

/** Cedar goes into an expression as deep as its stack lets it; what is anywhere near that is its own. */
const mostDepth = 32;

/**
 * The conditions of a policy as a test: presence, texts that are equal or like a pattern, whole numbers that are compared, sets that contain
 * a text, truth, and what is made of those by `&&`, `||` and `!`. Undefined where nothing of them can be told.
 */
export function testOf(conditions: readonly Clause[]): Test | undefined {
  const tests = conditions.map(({ kind, body }) => {
    const test = booleanTest(body, 0);
    return kind === 'unless' ? not(test) : test;
  });
  const test = tests.reduce(and, always);
  return test === unknown ? undefined : test;
}

/** Cedar goes from left to right, and no further than it has to: what it does not reach cannot err. */
function and(left: Test, right: Test): Test {
  if (left === always) return right;
  if (left === unknown) return unknown;
  return (values) => {
    const first = left(values);
    return first === true ? right(values) : first;
  };
}

function or(left: Test, right: Test): Test {
  if (left === unknown) return unknown;
  return (values) => {
    const first = left(values);
    return first === false ? right(values) : first;
  };
}

function not(test: Test): Test {
  if (test === unknown) return unknown;
  return (values) => {
    const met = test(values);
    return met === undefined ? undefined : !met;
  };
}

const unknown: Test = () => undefined;
const always: Test = () => true;

/** The casts in here follow the shapes that Cedar documents for the JSON of each operator. */
function booleanTest(expression: Expr, depth: number): Test {
  const [[operator, operand] = ['', null], ...others] = Object.entries(expression) as [string, unknown][];
  if (others.length > 0 || depth > mostDepth) return unknown;
  const { left, right } = (operand ?? {}) as { left: Expr; right: Expr };
  switch (operator) {
    case 'Value':
      return typeof operand === 'boolean' ? () => operand : unknown;
    case '&&':
      return and(booleanTest(left, depth + 1), booleanTest(right, depth + 1));
    case '||':
      return or(booleanTest(left, depth + 1), booleanTest(right, depth + 1));
    case '!':
      return not(booleanTest((operand as { arg: Expr }).arg, depth + 1));
    case '.':
      return ofType(valueIn(expression), isBoolean);
    case 'has':
      return presence(left, (operand as { attr: unknown }).attr);
    case 'like':
      return likeness(valueIn(left), (operand as { pattern: unknown }).pattern);
    case '==':
      return equality(valueIn(left), valueIn(right));
    case '!=':
      return not(equality(valueIn(left), valueIn(right)));
    case '<':
    case '<=':
    case '>':
    case '>=':
      return comparison(operator, ofType(valueIn(left), isLong), ofType(valueIn(right), isLong));
    case 'contains':
      return membership(valueIn(left), ofType(valueIn(right), isString));
    default:
      return unknown;
  }
}

function presence(of: Expr, attribute: unknown): Test {
  const record = recordOf(of);
  if (record === undefined || typeof attribute !== 'string') return unknown;
  return (values) => {
    const found = record(values);
    return found === undefined ? undefined : Object.hasOwn(found, attribute);
  };
}

function equality(left: Test<CedarValueJson>, right: Test<CedarValueJson>): Test {
  return (values) => {
    const [one, other] = [left(values), right(values)];
    const areAlike = (isString(one) && isString(other)) || (isLong(one) && isLong(other)) || (isBoolean(one) && isBoolean(other));
    return areAlike ? one === other : undefined;
  };
}

function comparison(operator: '<' | '<=' | '>' | '>=', left: Test<number>, right: Test<number>): Test {
  return (values) => {
    const [one, other] = [left(values), right(values)];
    if (one === undefined || other === undefined) return undefined;
    switch (operator) {
      case '<':
        return one < other;
      case '<=':
        return one <= other;
      case '>':
        return one > other;
      case '>=':
        return one >= other;
      default:
        return operator satisfies never;
    }
  };
}

function membership(set: Test<CedarValueJson>, text: Test<string>): Test {
  return (values) => {
    const [items, one] = [set(values), text(values)];
    return one !== undefined && Array.isArray(items) && items.every(isString) ? items.includes(one) : undefined;
  };
}

/** The text of a pattern between its wildcards has to be found in order, its ends at the ends. */
function likeness(value: Test<CedarValueJson>, pattern: unknown): Test {
  const parts = piecesOfPattern(pattern);
  if (parts === undefined) return unknown;
  const [first = '', ...others] = parts;
  const last = others.pop();
  return (values) => {
    const text = value(values);
    if (!isString(text)) return undefined;
    if (last === undefined) return text === first;
    if (!text.startsWith(first)) return false;
    let at = first.length;
    for (const part of others) {
      const found = text.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return text.length - last.length >= at && text.endsWith(last);
  };
}

function piecesOfPattern(pattern: unknown): readonly string[] | undefined {
  if (!Array.isArray(pattern)) return undefined;
  const parts = [''];
  for (const piece of pattern as unknown[]) {
    if (piece === 'Wildcard') parts.push('');
    else if (piece !== null && typeof piece === 'object' && 'Literal' in piece && typeof piece.Literal === 'string')
      parts.push(`${parts.pop() ?? ''}${piece.Literal}`);
    else return undefined;
  }
  return parts;
}

/** A literal, a set of them, or an attribute of what the question is about. */
function valueIn(expression: Expr): Test<CedarValueJson> {
  if ('Value' in expression) {
    const { Value: value } = expression;
    return () => value;
  }
  if ('Set' in expression) {
    const items = expression.Set.map((item) => ('Value' in item ? item.Value : null));
    return () => items;
  }
  if (!('.' in expression)) return () => undefined;
  const { left, attr } = expression['.'] as { left: Expr; attr: string };
  const record = recordOf(left);
  if (record === undefined) return () => undefined;
  return (values) => {
    const found = record(values);
    return found !== undefined && Object.hasOwn(found, attr) ? found[attr] : undefined;
  };
}

/** `principal`, `resource`, `context` and `context.arguments`. */
function recordOf(expression: Expr): Test<Readonly<Record<string, CedarValueJson>>> | undefined {
  if ('Var' in expression) {
    const { Var: variable } = expression;
    if (variable === 'principal' || variable === 'resource' || variable === 'context') return (values) => values[variable];
  }
  if (!('.' in expression)) return undefined;
  const { left, attr } = expression['.'] as { left: Expr; attr: string };
  if (attr !== 'arguments' || !('Var' in left) || left.Var !== 'context') return undefined;
  return ({ context }) => (Object.hasOwn(context, attr) ? (context[attr] as Record<string, CedarValueJson>) : undefined);
}

function ofType<Value>(
  value: Test<CedarValueJson>,
  is: (found: CedarValueJson | undefined) => found is Value & CedarValueJson,
): Test<Value> {
  return (values) => {
    const found = value(values);
    return is(found) ? found : undefined;
  };
}

const isString = (value: CedarValueJson | undefined): value is string => typeof value === 'string';
const isBoolean = (value: CedarValueJson | undefined): value is boolean => typeof value === 'boolean';
/** A literal may be larger than a number of JavaScript is exact for. */
const isLong = (value: CedarValueJson | undefined): value is number => typeof value === 'number' && Number.isSafeInteger(value);
