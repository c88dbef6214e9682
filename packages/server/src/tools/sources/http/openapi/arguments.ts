import { isObject, type JsonSchema } from '#core';
import { reservedHeaders } from '#tools/net';
import type { ApiDescription, DescriptionPart } from './document.ts';
import type { SchemaReader } from './schemas.ts';

/** Why an operation is no tool. */
export class NotATool extends Error {}

/** What the request of an operation is made of. */
export interface OperationParts {
  readonly path: string;
  readonly query: Record<string, string | { value: string; list: 'comma' }>;
  readonly headers: Record<string, string>;
  readonly body: DescriptionPart | undefined;
  readonly properties: ReadonlyMap<string, JsonSchema>;
  readonly required: readonly string[];
  readonly notes: readonly string[];
}

/** Of an object in the query. */
const maxMembers = 50;
const uploadType = /^(multipart\/|application\/octet-stream\b|image\/|audio\/|video\/)/i;
const jsonType = /^application\/(.*\+)?json\b/i;

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required: boolean;
  readonly given: DescriptionPart;
}

/** Merges parameters and body into arguments of which no two have one name. Throws {@link NotATool}. */
export function argumentsOfOperation(
  document: ApiDescription,
  path: string,
  item: DescriptionPart,
  operation: DescriptionPart,
  reader: SchemaReader,
): OperationParts {
  const properties = new Map<string, JsonSchema>();
  const required: string[] = [];
  const notes: string[] = [];
  const query = new Map<string, string | { value: string; list: 'comma' }>();
  const headers = new Map<string, string>();
  const inPath = new Map<string, string>();

  function add(name: string, place: string, schema: JsonSchema, isRequired: boolean): string {
    const plain = name.replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, 50) || 'value';
    let argument = properties.has(plain) ? `${plain}_${place}` : plain;
    for (let count = 2; properties.has(argument); count += 1) argument = `${plain}_${place}${count}`;
    properties.set(argument, schema);
    if (isRequired) required.push(argument);
    return argument;
  }

  for (const parameter of parametersOf(document, item, operation)) {
    const { name, given } = parameter;
    const place = parameter.in;
    const fault = faultOfParameter(document, parameter);
    if (fault !== null) {
      if (parameter.required) throw new NotATool(`its parameter ${name} ${fault}`);
      notes.push(`${name} is left out: it ${fault}`);
      continue;
    }
    if (place === 'header' && (reservedHeaders.test(name.toLowerCase()) || /^(accept|content-type|authorization)$/i.test(name))) continue;
    const members = place === 'query' ? membersOfQuery(document, given) : null;
    if (members !== null) {
      const isDeep = given.style === 'deepObject';
      for (const [member, each] of members.properties) {
        const argument = add(`${name}_${member}`, 'query', reader.read(each), parameter.required && members.required.has(member));
        query.set(isDeep ? `${name}[${member}]` : member, `{${argument}}`);
      }
      continue;
    }
    const schema = withDescription(digitsAsText(reader.read(given.schema ?? {})), given.description);
    if (place === 'path') inPath.set(name, add(name, 'path', plainInLine(schema), true));
    else if (place === 'header') headers.set(name, `{${add(name, 'header', plainInLine(schema), parameter.required)}}`);
    else {
      const value = `{${add(name, 'query', schema, parameter.required)}}`;
      query.set(name, given.explode === false ? { value, list: 'comma' } : value);
    }
  }
  const written = path.replace(/\{([^{}]+)\}/g, (_, name: string) => {
    const known = inPath.get(name) ?? add(name, 'path', { type: 'string' }, true);
    inPath.set(name, known);
    return `{${known}}`;
  });
  const accepted = formsOfAnswer(document, operation);
  if (accepted !== null && ![...headers.keys()].some((name) => /^accept$/i.test(name))) headers.set('Accept', accepted);
  const body = bodyOfOperation(document, operation, reader, add, notes);
  return { path: written, query: Object.fromEntries(query), headers: Object.fromEntries(headers), body, properties, required, notes };
}

/** Those of the operation stand before those of its path. */
function parametersOf(document: ApiDescription, item: DescriptionPart, operation: DescriptionPart): Parameter[] {
  const found = new Map<string, Parameter>();
  for (const each of [item.parameters, operation.parameters].flatMap((list) => (Array.isArray(list) ? list : []))) {
    const given = document.resolve(each);
    if (!isObject(given) || typeof given.name !== 'string' || typeof given.in !== 'string')
      throw new NotATool('one of its parameters is elsewhere, or none');
    found.set(`${given.in} ${given.name}`, { name: given.name, in: given.in, required: given.required === true, given });
  }
  return [...found.values()];
}

function faultOfParameter(document: ApiDescription, { in: place, given }: Parameter): string | null {
  if (!['path', 'query', 'header'].includes(place)) return place === 'cookie' ? 'is a cookie' : `is in ${JSON.stringify(place)}`;
  if (given.content !== undefined) return 'has a content of its own';
  const members = place === 'query' ? membersOfQuery(document, given) : null;
  const isDeep = given.style === 'deepObject';
  if (isDeep && members === null) return 'is an object whose members are not all known, or no plain values';
  if (typeof given.style === 'string' && !['simple', 'form'].includes(given.style) && !isDeep) return `has the style ${given.style}`;
  return members === null && isObjectSchema(document, given.schema) ? 'is an object' : null;
}

function isObjectSchema(document: ApiDescription, given: unknown): boolean {
  const schema = document.resolve(given);
  if (!isObject(schema)) return false;
  if ([schema.type].flat().includes('object') || isObject(schema.properties)) return true;
  return Array.isArray(schema.allOf) && schema.allOf.some((part) => isObjectSchema(document, part));
}

/** The members of an object in the query, each of which is a parameter there; null for what is none, or holds more than plain values and lists of them. */
function membersOfQuery(document: ApiDescription, { schema, style, explode }: DescriptionPart): Members | null {
  if (!isObjectSchema(document, schema) || (style !== 'deepObject' && explode === false)) return null;
  const members = membersOf(document, schema);
  if (members === null || members.properties.size > maxMembers) return null;
  const isPlain = (given: unknown): boolean => {
    const part = document.resolve(given);
    if (!isObject(part)) return false;
    const types = [part.type].flat();
    if (types.includes('array')) return isObject(document.resolve(part.items)) && isPlain(part.items) && !isList(document, part.items);
    return !types.includes('object') && !isObject(part.properties) && part.allOf === undefined;
  };
  return [...members.properties.values()].every(isPlain) ? members : null;
}

function isList(document: ApiDescription, given: unknown): boolean {
  const schema = document.resolve(given);
  return isObject(schema) && [schema.type].flat().includes('array');
}

/** In an address and a header a number is text: one with more digits than a double holds is given as that, and kept. */
function digitsAsText(schema: JsonSchema): JsonSchema {
  return schema.type === 'integer' && schema.format === 'int64' && schema.enum === undefined
    ? { ...schema, type: ['integer', 'string'], pattern: '^-?[0-9]+$' }
    : schema;
}

/** Where JSON is one form among others, it is asked for: some servers give the first form that they have to whoever takes any. */
function formsOfAnswer(document: ApiDescription, { responses }: DescriptionPart): string | null {
  const types = Object.entries(isObject(responses) ? responses : {})
    .filter(([status]) => /^(2..|default)$/i.test(status))
    .flatMap(([, each]) => {
      const answer = document.resolve(each);
      return isObject(answer) && isObject(answer.content) ? Object.keys(answer.content) : [];
    });
  const json = types.find((type) => /^application\/([\w.-]*\+)?json(;[\x20-\x7e]*)?$/i.test(type));
  return json === undefined || types.every((type) => jsonType.test(type)) ? null : `${json}, */*;q=0.5`;
}

/** A segment, or a header, is one text. */
function plainInLine(schema: JsonSchema): JsonSchema {
  return schema.type === 'array' ? { type: 'string', description: 'values with commas between them' } : schema;
}

function withDescription(schema: JsonSchema, description: unknown): JsonSchema {
  return typeof description !== 'string' || description.trim() === ''
    ? schema
    : { ...schema, description: description.trim().slice(0, 300) };
}

type Add = (name: string, place: string, schema: JsonSchema, isRequired: boolean) => string;

function bodyOfOperation(
  document: ApiDescription,
  operation: DescriptionPart,
  reader: SchemaReader,
  add: Add,
  notes: string[],
): DescriptionPart | undefined {
  if (operation.requestBody === undefined) return undefined;
  const body = document.resolve(operation.requestBody);
  if (!isObject(body)) throw new NotATool('its body is elsewhere');
  const contents = Object.entries(isObject(body.content) ? body.content : {});
  const find = (pattern: RegExp) => contents.find(([type]) => pattern.test(type));
  const json = find(jsonType) ?? find(/^\*\/\*$/);
  const chosen = json ?? find(/^application\/x-www-form-urlencoded\b/i) ?? find(/^text\/plain\b/i);
  const isRequired = body.required === true;
  if (chosen === undefined) {
    const names = contents.map(([type]) => type).join(', ') || 'nothing';
    if (isRequired) throw new NotATool(`its body is ${names}; tools send JSON, forms and text`);
    notes.push(`its body (${names}) is left out`);
    return undefined;
  }
  const [type, media] = chosen;
  const uploads = contents.map(([other]) => other).filter((other) => uploadType.test(other));
  if (uploads.length > 0) notes.push(`it is called with ${type}: what it takes as ${uploads.join(', ')}, such as files, is left out`);
  const schema = isObject(media) ? media.schema : undefined;
  if (/^text\//i.test(type)) return { type: 'text', argument: add('body', 'body', { type: 'string' }, isRequired), contentType: type };
  const kind = chosen === json ? 'json' : 'form';
  const about = {
    type: kind,
    ...(isRequired ? { required: true } : {}),
    ...(kind === 'json' && /\+json/i.test(type) && /^[\w.+/-]{1,100}$/.test(type) ? { contentType: type } : {}),
  };
  const members = membersOf(document, schema);
  if (members === null) return { ...about, argument: add('body', 'body', reader.read(schema ?? {}), isRequired) };
  const sent = [...members.properties].filter(([, member]) => !(isObject(member) && member.readOnly === true));
  const files = sent.filter(([, member]) => isFile(document, member)).map(([name]) => name);
  const needed = files.find((name) => isRequired && members.required.has(name));
  if (needed !== undefined) throw new NotATool(`its field ${needed} is a file; tools send JSON, forms and text`);
  notes.push(...files.map((name) => `${name} is left out: it is a file`));
  const fields = sent
    .filter(([name]) => !files.includes(name))
    .map(([name, member]) => [name, add(name, 'body', reader.read(member), isRequired && members.required.has(name))] as const);
  return { ...about, fields: Object.fromEntries(fields) };
}

/** The bytes of a file, or several of them. */
function isFile(document: ApiDescription, given: unknown, depth = 0): boolean {
  const schema = document.resolve(given);
  if (!isObject(schema) || depth > 5) return false;
  return schema.format === 'binary' || ([schema.type].flat().includes('array') && isFile(document, schema.items, depth + 1));
}

interface Members {
  readonly properties: ReadonlyMap<string, unknown>;
  readonly required: ReadonlySet<string>;
}

/** The members of an object, also of one that is put together by `allOf`; null for anything whose members are not all known. */
function membersOf(document: ApiDescription, given: unknown, depth = 0): Members | null {
  const schema = document.resolve(given);
  if (!isObject(schema) || depth > 5 || schema.oneOf !== undefined || schema.anyOf !== undefined) return null;
  if (schema.additionalProperties !== undefined && schema.additionalProperties !== false) return null;
  const properties = new Map(Object.entries(isObject(schema.properties) ? schema.properties : {}));
  const required = new Set(Array.isArray(schema.required) ? schema.required.map(String) : []);
  for (const part of Array.isArray(schema.allOf) ? schema.allOf : []) {
    const more = membersOf(document, part, depth + 1);
    if (more === null) return null;
    for (const [name, member] of more.properties) properties.set(name, member);
    for (const name of more.required) required.add(name);
  }
  return properties.size === 0 && depth === 0 ? null : { properties, required };
}
