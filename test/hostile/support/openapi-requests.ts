/** A JSON Schema as our OpenAPI document has them. */
export type Schema = Readonly<Record<string, unknown>>;

export interface FuzzRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

interface Operation {
  readonly parameters?: readonly { readonly in: string; readonly name: string; readonly schema: Schema }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}

export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** A seeded source of chance in [0, 1): mulberry32, by Tommy Ettinger (public domain). */
function chanceOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Names that mean something to JavaScript, to databases, to paths, to terminals, or to nobody. */
const oddTexts = [
  '',
  ' ',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'null',
  'undefined',
  'NaN',
  '-1',
  '0',
  '1e400',
  '../../etc/passwd',
  '..%2f..%2fetc',
  '%00',
  '\u0000',
  '\ud800',
  '\u202etxt.exe',
  '\u001b[2J',
  "' or 1=1 --",
  '{{7*7}}',
  '*',
  '%',
  '_',
  'a'.repeat(300),
  'é'.repeat(2_000),
  '\n\r\n',
  'Ａ',
  '2026-02-30',
  'run_01h455vb4pex5vsknk084sn02q',
  'ses_00000000000000000000000000',
];
const oddValues: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  Number.MAX_SAFE_INTEGER + 2,
  [],
  {},
  [[]],
  { a: { b: {} } },
  ['', null],
];
/** What a body may be besides the JSON of a value. */
const oddBodies = [
  '',
  '{',
  '[]',
  'null',
  '"text"',
  '{"a":1}{"b":2}',
  '{"__proto__":{"admin":true}}',
  `${'['.repeat(500)}${']'.repeat(500)}`,
  `{${'"a":{'.repeat(200)}${'}'.repeat(200)}}`,
  `{"a":${'9'.repeat(400)}}`,
  '{"a":1,"a":2}',
  '\ufeff{}',
  '{"a":"\\ud800"}',
  `[${'1,'.repeat(2_000)}1]`,
];

/** Requests of every operation, by a seed: mostly near what is right, with something wrong somewhere. */
export function createRequests(document: OpenApi, seed: number, skip: (operation: string) => boolean) {
  const chance = chanceOf(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(chance() * items.length)] as T; // none of the lists is empty
  const known = new Map<string, string[]>();
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([method]) => !skip(`${method} ${path}`))
      .map(([method, operation]) => ({ path, method, operation })),
  );

  function textOf(schema: Schema): string {
    const values = schema.enum;
    if (Array.isArray(values) && values.length > 0) return String(pick(values));
    const { maxLength } = schema;
    if (typeof maxLength === 'number' && chance() < 0.05) return 'x'.repeat(Math.min(maxLength + 1, 20_000));
    return pick(['helper', 'default', 'sim/sim-large', '[[sim say="hello"]]', 'a', 'day', 'run:x', 'tenant', 'hello there']);
  }

  function madeOf(schema: Schema, depth: number): unknown {
    if (chance() < 0.06) return chance() < 0.5 ? pick(oddTexts) : pick(oddValues);
    const reference = schema.$ref;
    if (typeof reference === 'string') return madeOf(document.components.schemas[reference.split('/').at(-1) ?? ''] ?? {}, depth);
    const branches = schema.anyOf ?? schema.oneOf;
    if (Array.isArray(branches)) return madeOf(pick(branches), depth);
    if ('const' in schema) return schema.const;
    switch (schema.type) {
      case 'string':
        return textOf(schema);
      case 'integer':
        return Math.floor(chance() * 10 ** Math.floor(chance() * 8)) - (chance() < 0.1 ? 5 : 0);
      case 'number':
        return chance() * 2;
      case 'boolean':
        return chance() < 0.5;
      case 'array':
        return Array.from({ length: Math.floor(chance() * (chance() < 0.02 ? 300 : 4)) }, () =>
          depth > 6 ? null : madeOf((schema.items ?? {}) as Schema, depth + 1),
        );
      case 'object':
        return objectOf(schema, depth);
      default:
        return pick(oddValues);
    }
  }

  function objectOf(schema: Schema, depth: number): Record<string, unknown> {
    const made: Record<string, unknown> = Object.create(null);
    const required = new Set(Array.isArray(schema.required) ? schema.required : []);
    for (const [name, inner] of Object.entries((schema.properties ?? {}) as Record<string, Schema>)) {
      const wanted = required.has(name) ? 0.96 : depth === 0 ? 0.3 : 0.5;
      if (depth <= 6 && chance() < wanted) made[name] = madeOf(inner, depth + 1);
    }
    if (chance() < 0.05) made[pick(oddTexts)] = pick(oddValues);
    return made;
  }

  function parameterOf(name: string, schema: Schema): string {
    const given = known.get(name);
    if (given !== undefined && given.length > 0 && chance() < 0.7) return pick(given);
    if (chance() < 0.5) return pick(oddTexts);
    const value = madeOf(schema, 6);
    return typeof value === 'string' ? value : String(JSON.stringify(value));
  }

  function bodyOf({ requestBody }: Operation): string | undefined {
    if (requestBody === undefined) return chance() < 0.03 ? pick(oddBodies) : undefined;
    if (chance() < 0.08) return pick(oddBodies);
    return JSON.stringify(madeOf(requestBody.content['application/json']?.schema ?? {}, 0));
  }

  return {
    operations: operations.length,
    /** Says that something of this kind exists, so that later requests are about it. */
    learn(kind: string, id: unknown): void {
      if (typeof id !== 'string') return;
      const ids = known.get(kind) ?? [];
      known.set(kind, [...ids, id].slice(-20));
    },
    next(): FuzzRequest & { readonly operation: string } {
      const { path: pattern, method, operation } = pick(operations);
      let path = pattern;
      const query: string[] = [];
      const headers: Record<string, string> = {};
      for (const { in: place, name, schema } of operation.parameters ?? []) {
        if (place === 'path') path = path.replace(`{${name}}`, segment(parameterOf(name, schema)));
        else if (chance() > 0.4) continue;
        else if (place === 'query') query.push(`${name}=${escaped(parameterOf(name, schema))}`);
        else headers[name.toLowerCase()] = headerText(parameterOf(name, schema));
      }
      if (chance() < 0.03) query.push(`${escaped(pick(oddTexts))}=${escaped(pick(oddTexts))}`);
      if (chance() < 0.2) headers.accept = pick(['text/event-stream', 'application/json', '*/*', headerText(pick(oddTexts))]);
      const body = bodyOf(operation);
      if (body !== undefined)
        headers['content-type'] = chance() < 0.97 ? 'application/json' : pick(['text/plain', 'application/xml', 'json', '']);
      const isOther = chance() < 0.01;
      return {
        operation: `${method} ${pattern}`,
        method: isOther ? pick(['PUT', 'PATCH', 'DELETE', 'OPTIONS', 'POST']) : method.toUpperCase(),
        path: `${path}${query.length === 0 ? '' : `?${query.join('&')}`}`,
        headers,
        body,
      };
    },
  };

  /** Sometimes as it is: a path may hold what a well-meaning client would have escaped. */
  function segment(text: string): string {
    return chance() < 0.1 ? text.replaceAll(/[^\x21-\x7e]|[?#]/g, '%zz') : escaped(text);
  }
}

function escaped(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function headerText(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, '?');
}
