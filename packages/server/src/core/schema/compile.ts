import { canonicalJson, isObject } from '../json.ts';
import { cutText } from '../text.ts';
import { spend, spendOn } from './fuel.ts';
import { createPattern, type Pattern } from './pattern.ts';
import { resolve } from './rules.ts';
import { type Check, deeper, fails, inside, type Seen, type State } from './state.ts';
import { shown } from './words.ts';

type Schema = Readonly<Record<string, unknown>>;

/**
 * Makes a check of a schema without faults. Nothing is compiled to code: a check goes through the parts of the schema, and each part
 * spends what it takes.
 */
export function compileSchema(root: Schema): Check {
  const known = new Map<object, Check>();

  function checkOf(schema: unknown): Check {
    if (schema === true) return () => true;
    if (!isObject(schema)) return (value, state, place) => fails(state, place, 'nothing: whatever is here does not fit', value);
    const ready = known.get(schema);
    if (ready !== undefined) return ready;
    let check: Check | undefined;
    // A part may lead back to itself before it is ready.
    const later: Check = (value, state, place, seen) => check?.(value, state, place, seen) ?? true;
    known.set(schema, later);
    check = partOf(schema, checkOf, root);
    known.set(schema, check);
    return check;
  }

  return checkOf(root);
}

type CheckOf = (schema: unknown) => Check;

function partOf(schema: Schema, checkOf: CheckOf, root: Schema): Check {
  const typed = typeCheck(schema.type);
  const any = [...valueChecks(schema), ...combiningChecks(schema, checkOf, root)];
  const ofText = textChecks(schema);
  const ofNumber = numberChecks(schema);
  const ofList = listChecks(schema, checkOf);
  const ofObject = objectChecks(schema, checkOf);
  const rest = { items: schema.unevaluatedItems, names: schema.unevaluatedProperties };
  const others = {
    items: rest.items === undefined ? null : checkOf(rest.items),
    names: rest.names === undefined ? null : checkOf(rest.names),
  };
  const tracks = others.items !== null || others.names !== null;

  return (value, state, place, outer) => {
    deeper(state);
    const seen = tracks ? newSeen() : outer;
    let fit = typed === null || typed(value, state, place, seen);
    if (fit || state.issues !== null) {
      const own =
        typeof value === 'string'
          ? ofText
          : typeof value === 'number'
            ? ofNumber
            : typeof value !== 'object' || value === null
              ? none
              : Array.isArray(value)
                ? ofList
                : ofObject;
      fit = all(any, value, state, place, seen) && fit;
      if (fit || state.issues !== null) fit = all(own, value, state, place, seen) && fit;
    }
    if (tracks && seen !== null) {
      if (fit || state.issues !== null) fit = unseen(value, state, place, seen) && fit;
      if (outer !== null) merge(outer, seen, state);
    }
    state.depth -= 1;
    return fit;
  };

  function unseen(value: unknown, state: State, place: Parameters<Check>[2], seen: Seen): boolean {
    let fit = true;
    if (others.items !== null && Array.isArray(value)) {
      for (let index = seen.items; index < value.length; index++) {
        if (seen.others.has(index)) continue;
        if (!others.items(value[index], state, inside(place, index), null)) fit = false;
        if (!fit && state.issues === null) return false;
      }
      seen.items = value.length;
    }
    if (others.names !== null && isObject(value) && seen.names !== 'all') {
      for (const name of Object.keys(value)) {
        spend(state, 2);
        if (seen.names.has(name)) continue;
        if (rest.names === false) fit = fails(state, inside(place, name), () => noSuch(schema), value[name]);
        else if (!others.names(value[name], state, inside(place, name), null)) fit = false;
        if (!fit && state.issues === null) return false;
      }
      seen.names = 'all';
    }
    return fit;
  }
}

const none: readonly Check[] = [];

/** All of them, where somebody asks what does not fit; else up to the first that does not. */
function all(checks: readonly Check[], value: unknown, state: State, place: Parameters<Check>[2], seen: Seen | null): boolean {
  let fit = true;
  for (const check of checks) {
    if (check(value, state, place, seen)) continue;
    fit = false;
    if (state.issues === null) return false;
  }
  return fit;
}

const newSeen = (): Seen => ({ names: new Set(), items: 0, others: new Set() });

function merge(into: Seen, from: Seen, state: State): void {
  spend(state, 16 * ((from.names === 'all' ? 0 : from.names.size) + from.others.size));
  if (from.names === 'all') into.names = 'all';
  else if (into.names !== 'all') for (const name of from.names) into.names.add(name);
  into.items = Math.max(into.items, from.items);
  for (const index of from.others) into.others.add(index);
}

/** Whether a part fits. What it has seen counts only then. */
function trial(check: Check, value: unknown, state: State, place: Parameters<Check>[2], seen: Seen | null): boolean {
  if (seen === null) return check(value, state, place, null);
  const own = newSeen();
  const fit = check(value, state, place, own);
  if (fit) merge(seen, own, state);
  return fit;
}

/** The same without a word of what does not fit, as for `not`. */
function quietly(check: Check, value: unknown, state: State, seen: Seen | null): boolean {
  spend(state, 30);
  const quiet: State = { left: state.left, depth: state.depth, issues: null };
  try {
    return trial(check, value, quiet, null, seen);
  } finally {
    state.left = quiet.left;
  }
}

function typeCheck(type: unknown): Check | null {
  if (type === undefined) return null;
  const names = [type].flat() as string[];
  const wanted = new Set(names);
  const expected = names.join(' or ');
  return (value, state, place) => {
    const is = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
    if (wanted.has(is) || (is === 'number' && wanted.has('integer') && Number.isInteger(value))) return true;
    return fails(state, place, expected, value);
  };
}

function valueChecks(schema: Schema): Check[] {
  const checks: Check[] = [];
  if (schema.const !== undefined) checks.push(oneOfValues([schema.const], () => shown(schema.const)));
  if (Array.isArray(schema.enum)) {
    const values: readonly unknown[] = schema.enum;
    checks.push(oneOfValues(values, () => `one of ${shown(values, 400)}`));
  }
  return checks;
}

function oneOfValues(values: readonly unknown[], expected: () => string): Check {
  const plain = new Set(values.filter((value) => typeof value !== 'object' || value === null));
  const texts = new Set(values.filter((value) => typeof value === 'object' && value !== null).map(canonicalJson));
  return (value, state, place) => {
    if (typeof value !== 'object' || value === null ? plain.has(value) : texts.size > 0 && texts.has(canonical(value, state))) return true;
    return fails(state, place, expected, value);
  };
}

function canonical(value: unknown, state: State): string {
  spendOn(state, value);
  return canonicalJson(value);
}

function combiningChecks(schema: Schema, checkOf: CheckOf, root: Schema): Check[] {
  const checks: Check[] = [];
  const list = (name: string) => (schema[name] as readonly unknown[]).map(checkOf); // its rules say so
  if (typeof schema.$ref === 'string') checks.push(checkOf(resolve(root, schema.$ref)));
  if (schema.allOf !== undefined) checks.push(...list('allOf'));
  if (schema.anyOf !== undefined) checks.push(anyOf(list('anyOf')));
  if (schema.oneOf !== undefined) checks.push(oneOf(list('oneOf')));
  if (schema.not !== undefined) {
    const not = checkOf(schema.not);
    checks.push((value, state, place) => !quietly(not, value, state, null) || fails(state, place, 'NOT be valid', value, true));
  }
  if (schema.if !== undefined) {
    const condition = checkOf(schema.if);
    const then = checkOf(schema.then ?? true);
    const otherwise = checkOf(schema.else ?? true);
    checks.push((value, state, place, seen) => trial(quietly(condition, value, state, seen) ? then : otherwise, value, state, place, seen));
  }
  return checks;
}

function anyOf(parts: readonly Check[]): Check {
  return (value, state, place, seen) => {
    let fit = false;
    for (const part of parts) {
      if (!quietly(part, value, state, seen)) continue;
      fit = true;
      // With all that was seen, where that matters.
      if (seen === null) break;
    }
    if (fit) return true;
    if (state.issues !== null) for (const part of parts) part(value, state, place, null);
    return fails(state, place, 'match a schema in anyOf', value, true);
  };
}

function oneOf(parts: readonly Check[]): Check {
  return (value, state, place, seen) => {
    let fitting = 0;
    const own = seen === null ? null : newSeen();
    for (const part of parts) {
      if (!quietly(part, value, state, own)) continue;
      fitting += 1;
      if (fitting > 1) break;
    }
    if (fitting === 1) {
      if (seen !== null && own !== null) merge(seen, own, state);
      return true;
    }
    if (fitting === 0 && state.issues !== null) for (const part of parts) part(value, state, place, null);
    return fails(state, place, 'match exactly one schema in oneOf', value, true);
  };
}

function textChecks(schema: Schema): Check[] {
  const { maxLength, minLength, pattern } = schema;
  const checks: Check[] = [];
  if (typeof maxLength === 'number') {
    checks.push((value, state, place) => {
      const text = value as string; // these are only asked of texts
      if (text.length <= maxLength || (text.length <= 2 * maxLength && charactersOf(text, state) <= maxLength)) return true;
      return fails(state, place, `NOT have more than ${maxLength} characters`, value);
    });
  }
  if (typeof minLength === 'number') {
    checks.push((value, state, place) => {
      const text = value as string; // these are only asked of texts
      if (text.length >= minLength && (text.length >= 2 * minLength || charactersOf(text, state) >= minLength)) return true;
      return fails(state, place, `NOT have fewer than ${minLength} characters`, value);
    });
  }
  if (typeof pattern === 'string') {
    const compiled = createPattern(pattern);
    checks.push(
      (value, state, place) =>
        compiled.test(value as string, state) || fails(state, place, `match pattern "${cutText(pattern, 300)}"`, value),
    );
  }
  return checks;
}

/** Characters, not halves of them. */
function charactersOf(text: string, state: State): number {
  spend(state, text.length / 8);
  let count = text.length;
  for (let at = 0; at < text.length - 1; at++) {
    if ((text.charCodeAt(at) & 0xfc00) !== 0xd800 || (text.charCodeAt(at + 1) & 0xfc00) !== 0xdc00) continue;
    count -= 1;
    at += 1;
  }
  return count;
}

function numberChecks(schema: Schema): Check[] {
  const checks: Check[] = [];
  const add = (keyword: string, sign: string, fits: (value: number, limit: number) => boolean) => {
    const limit = schema[keyword];
    if (typeof limit !== 'number') return;
    // these are only asked of numbers
    checks.push((value, state, place) => fits(value as number, limit) || fails(state, place, `${sign} ${limit}`, value));
  };
  add('maximum', 'be <=', (value, limit) => value <= limit);
  add('minimum', 'be >=', (value, limit) => value >= limit);
  add('exclusiveMaximum', 'be <', (value, limit) => value < limit);
  add('exclusiveMinimum', 'be >', (value, limit) => value > limit);
  add('multipleOf', 'be multiple of', (value, of) => Number.isInteger(value / of));
  return checks;
}

function listChecks(schema: Schema, checkOf: CheckOf): Check[] {
  const { maxItems, minItems } = schema;
  const checks: Check[] = [];
  if (typeof maxItems === 'number') {
    checks.push((value, state, place) => itemsOf(value) <= maxItems || fails(state, place, `NOT have more than ${maxItems} items`, value));
  }
  if (typeof minItems === 'number') {
    checks.push((value, state, place) => itemsOf(value) >= minItems || fails(state, place, `NOT have fewer than ${minItems} items`, value));
  }
  if (schema.uniqueItems === true) checks.push(differing);
  const isTuple = Array.isArray(schema.items);
  const first = isTuple ? schema.items : schema.prefixItems;
  const rest = isTuple ? schema.additionalItems : schema.items;
  if (first !== undefined || rest !== undefined) {
    checks.push(itemsCheck(Array.isArray(first) ? first.map(checkOf) : [], rest === undefined ? null : checkOf(rest), rest === false));
  }
  if (schema.contains !== undefined) checks.push(containing(checkOf(schema.contains), schema.minContains ?? 1, schema.maxContains ?? null));
  return checks;
}

function itemsOf(value: unknown): number {
  return (value as readonly unknown[]).length; // these are only asked of lists
}

const differing: Check = (value, state, place) => {
  const items = value as readonly unknown[]; // these are only asked of lists
  const plain = new Set<unknown>();
  const texts = new Set<string>();
  for (const item of items) {
    spend(state, 16);
    if (typeof item === 'object' && item !== null) texts.add(canonical(item, state));
    else plain.add(item);
  }
  return plain.size + texts.size === items.length || fails(state, place, 'not have the same item twice', value);
};

function itemsCheck(first: readonly Check[], rest: Check | null, closed: boolean): Check {
  return (value, state, place, seen) => {
    const items = value as readonly unknown[]; // these are only asked of lists
    if (closed && items.length > first.length) return fails(state, place, `NOT have more than ${first.length} items`, value);
    let fit = true;
    const end = rest === null ? Math.min(first.length, items.length) : items.length;
    for (let index = 0; index < end; index++) {
      const check = first[index] ?? rest;
      if (check === null || check(items[index], state, inside(place, index), null)) continue;
      fit = false;
      if (state.issues === null) return false;
    }
    if (seen !== null) seen.items = Math.max(seen.items, end);
    return fit;
  };
}

function containing(check: Check, least: unknown, most: unknown): Check {
  const min = Number(least);
  const max = most === null ? Number.POSITIVE_INFINITY : Number(most);
  const expected =
    most === null ? `contain at least ${min} valid item(s)` : `contain at least ${min} and no more than ${max} valid item(s)`;
  return (value, state, place, seen) => {
    const items = value as readonly unknown[]; // these are only asked of lists
    let count = 0;
    for (const [index, item] of items.entries()) {
      if (!quietly(check, item, state, null)) continue;
      count += 1;
      if (seen !== null) {
        spend(state, 16);
        seen.others.add(index);
      }
      if (count > max || (seen === null && count >= min && max === Number.POSITIVE_INFINITY)) break;
    }
    return (count >= min && count <= max) || fails(state, place, expected, value);
  };
}

function objectChecks(schema: Schema, checkOf: CheckOf): Check[] {
  const { maxProperties, minProperties } = schema;
  const checks: Check[] = [];
  if (typeof maxProperties === 'number') {
    checks.push(
      (value, state, place) =>
        countOf(value, state) <= maxProperties || fails(state, place, `NOT have more than ${maxProperties} properties`, value),
    );
  }
  if (typeof minProperties === 'number') {
    checks.push(
      (value, state, place) =>
        countOf(value, state) >= minProperties || fails(state, place, `NOT have fewer than ${minProperties} properties`, value),
    );
  }
  if (Array.isArray(schema.required)) checks.push(requiring(schema.required as string[])); // its rules say so
  for (const [name, needed] of dependencies(schema)) {
    if (Array.isArray(needed)) checks.push(dependent(name, needed as string[]));
    else {
      const check = checkOf(needed);
      checks.push((value, state, place, seen) => !Object.hasOwn(value as object, name) || trial(check, value, state, place, seen));
    }
  }
  if (schema.propertyNames !== undefined) checks.push(naming(checkOf(schema.propertyNames)));
  const members = membersCheck(schema, checkOf);
  if (members !== null) checks.push(members);
  return checks;
}

function dependencies({ dependentRequired, dependentSchemas, dependencies: both }: Schema): [string, unknown][] {
  return [dependentRequired, dependentSchemas, both].flatMap((map) => (isObject(map) ? Object.entries(map) : []));
}

function countOf(value: unknown, state: State): number {
  const count = Object.keys(value as object).length; // these are only asked of objects
  spend(state, count / 4);
  return count;
}

function requiring(names: readonly string[]): Check {
  return (value, state, place) => {
    spend(state, names.length);
    let fit = true;
    for (const name of names) {
      if (Object.hasOwn(value as object, name)) continue; // these are only asked of objects
      fit = fails(state, inside(place, name), 'a value (it is required)', undefined);
      if (state.issues === null) return false;
    }
    return fit;
  };
}

function dependent(name: string, needed: readonly string[]): Check {
  return (value, state, place) => {
    if (!Object.hasOwn(value as object, name)) return true; // these are only asked of objects
    spend(state, needed.length);
    const missing = needed.find((other) => !Object.hasOwn(value as object, other));
    return missing === undefined || fails(state, inside(place, missing), `a value (it is required beside ${cutText(name, 80)})`, undefined);
  };
}

function naming(check: Check): Check {
  return (value, state, place) => {
    let fit = true;
    for (const name of Object.keys(value as object)) {
      spend(state, 2);
      if (check(name, state, inside(place, name), null)) continue;
      fit = false;
      if (state.issues === null) return false;
    }
    return fit;
  };
}

function noSuch(schema: Schema): string {
  const known = isObject(schema.properties) ? Object.keys(schema.properties) : [];
  return known.length === 0 ? 'no such property' : `no such property; known are ${cutText(known.slice(0, 50).join(', '), 400)}`;
}

/** `properties`, `patternProperties` and `additionalProperties`: each member once. */
function membersCheck(schema: Schema, checkOf: CheckOf): Check | null {
  const entries = (map: unknown) => (isObject(map) ? Object.entries(map) : []);
  const named = new Map(entries(schema.properties).map(([name, part]) => [name, checkOf(part)]));
  const patterned: [Pattern, Check][] = entries(schema.patternProperties).map(([source, part]) => [createPattern(source), checkOf(part)]);
  const { additionalProperties: additional } = schema;
  const others = additional === undefined ? null : checkOf(additional);
  if (named.size === 0 && patterned.length === 0 && others === null) return null;
  return (value, state, place, seen) => {
    const members = value as Record<string, unknown>; // these are only asked of objects
    let fit = true;
    for (const name in members) {
      if (!Object.hasOwn(members, name)) continue;
      spend(state, 8);
      const check = named.get(name);
      let known = check !== undefined;
      if (check !== undefined && !check(members[name], state, inside(place, name), null)) fit = false;
      for (const [pattern, part] of patterned) {
        if (!pattern.test(name, state)) continue;
        known = true;
        if (!part(members[name], state, inside(place, name), null)) fit = false;
      }
      if (!known && others !== null) {
        known = true;
        if (additional === false) fit = fails(state, inside(place, name), () => noSuch(schema), members[name]);
        else if (!others(members[name], state, inside(place, name), null)) fit = false;
      }
      if (!fit && state.issues === null) return false;
      if (!known || seen === null || seen.names === 'all') continue;
      spend(state, 16);
      seen.names.add(name);
    }
    return fit;
  };
}
