import { asRecord } from './json.ts';

/** True when every object of the schema lists all its properties as required and allows no others, as strict modes insist. */
export function isStrictSchema(schema: unknown): boolean {
  if (Array.isArray(schema)) return schema.every(isStrictSchema);
  const node = asRecord(schema);
  if (node === null) return true;
  const properties = asRecord(node.properties);
  if (node.type === 'object' || properties !== null) {
    const required = Array.isArray(node.required) ? node.required : [];
    if (node.additionalProperties !== false) return false;
    if (!Object.keys(properties ?? {}).every((name) => required.includes(name))) return false;
  }
  return Object.entries(node).every(([key, child]) => key === 'enum' || key === 'const' || isStrictSchema(child));
}

/**
 * A copy in which every object that says nothing of further properties allows none: what fits the copy fits the
 * original, and providers that constrain decoding insist on it.
 */
export function closeSchema(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closeSchema);
  const node = asRecord(schema);
  if (node === null) return schema;
  const copy = Object.fromEntries(
    Object.entries(node).map(([key, child]) => [key, key === 'enum' || key === 'const' ? child : closeSchema(child)]),
  );
  if (node.type === 'object' && node.additionalProperties === undefined) copy.additionalProperties = false;
  return copy;
}
