import { isObject, NexusError } from '#core';

export type DescriptionPart = Readonly<Record<string, unknown>>;

/** An OpenAPI document as it was read. */
export interface ApiDescription {
  readonly tree: DescriptionPart;
  /** What a reference of the document leads to, other references followed; undefined for what is elsewhere, or nowhere. */
  resolve(value: unknown): unknown;
}

const maxChars = 20 * 1024 * 1024;
const maxHops = 50;

/** Reads OpenAPI 3.0 or 3.1, in JSON or YAML. Throws `invalid_request` for anything else. Nothing is fetched: references lead within the text or nowhere. */
export async function readOpenApi(text: string): Promise<ApiDescription> {
  if (text.length > maxChars)
    throw new NexusError('invalid_request', `the document has ${text.length} characters; at most ${maxChars} are read`);
  const tree = await parseText(text);
  if (!isObject(tree)) throw new NexusError('invalid_request', 'the document is no OpenAPI document: it holds no object');
  if (tree.swagger !== undefined)
    throw new NexusError(
      'invalid_request',
      'the document is Swagger 2.0, which is not read; convert it to OpenAPI 3, for instance with swagger2openapi',
    );
  // YAML reads a version without quotes as a number, and 3.0 as 3.
  if (!/^3(\.[01](\.\S*)?)?$/.test(String(tree.openapi)) || (tree.openapi !== 3 && String(tree.openapi) === '3'))
    throw new NexusError(
      'invalid_request',
      `the document is no OpenAPI 3.0 or 3.1: openapi is ${JSON.stringify(tree.openapi) ?? 'not there'}`,
    );
  return { tree, resolve: (value) => resolved(tree, value) };
}

async function parseText(given: string): Promise<unknown> {
  const text = given.replace(/^\uFEFF/, '');
  try {
    if (/^\s*\{/.test(text)) return JSON.parse(text);
  } catch (error) {
    if (/^\s*\{\s*"/.test(text)) throw unreadable(error); // else it may be YAML that begins with a brace
  }
  try {
    const { parse } = await import('yaml');
    const value: unknown = parse(text, { maxAliasCount: 100, merge: true });
    JSON.stringify(value); // what holds itself by an alias has no end
    return value;
  } catch (error) {
    throw unreadable(error);
  }
}

function unreadable(error: unknown): NexusError {
  const why = error instanceof Error ? error.message.split('\n')[0]?.replace(/:$/, '') : 'unreadable';
  return new NexusError('invalid_request', `the document is neither JSON nor YAML: ${why}`, { cause: error });
}

function resolved(tree: DescriptionPart, value: unknown): unknown {
  let found = value;
  for (let hops = 0; isObject(found) && typeof found.$ref === 'string'; hops += 1) {
    if (hops >= maxHops) return undefined;
    found = at(tree, found.$ref);
  }
  return found;
}

/** What stands at a reference such as `#/components/schemas/Pet`. */
function at(tree: DescriptionPart, reference: string): unknown {
  if (!reference.startsWith('#/')) return undefined;
  let found: unknown = tree;
  for (const token of reference.slice(2).split('/')) {
    const name = decoded(token).replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, name)) return undefined;
    found = (found as DescriptionPart)[name]; // an own member, of a list by its index
  }
  return found;
}

function decoded(token: string): string {
  try {
    return decodeURIComponent(token);
  } catch {
    return token;
  }
}
