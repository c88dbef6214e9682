import { asRecord, asString } from '#llm/dialects';

const maxValues = 2_000;
const maxTextChars = 2_000;
/** A value that the schema states counts once for each so many characters. */
const charsPerValue = 100;

/**
 * A value that fits the usual JSON Schemas: the answer's text where a string is wanted, its figures where numbers are.
 * Covers type, properties, required, items, enum, const, default, anyOf/oneOf, minimum/maximum, length and item bounds.
 */
export function exampleOf(schema: Record<string, unknown>, answer: string, figures: readonly number[]): unknown {
  const text = answer.slice(0, maxTextChars);
  const numbers = [...figures];
  let left = maxValues;
  const stated = (value: unknown) => {
    left -= Math.floor((JSON.stringify(value) ?? '').length / charsPerValue);
    return value;
  };
  const build = (node: Record<string, unknown>, depth: number): unknown => {
    left -= 1;
    if (left < 0) return null; // lists of lists grow by what each holds
    if ('const' in node) return stated(node.const);
    if (Array.isArray(node.enum)) return stated(node.enum.find((item) => typeof item === 'string' && text.includes(item)) ?? node.enum[0]);
    const choice = [node.anyOf, node.oneOf, node.allOf].find(Array.isArray)?.[0];
    if (choice !== undefined) return build(asRecord(choice) ?? {}, depth);
    const type = Array.isArray(node.type) ? node.type.find((item) => item !== 'null') : node.type;
    switch (type) {
      case 'object':
      case undefined: {
        const properties = Object.entries(asRecord(node.properties) ?? {});
        if (depth > 8) return {};
        return Object.fromEntries(properties.map(([name, child]) => [name, build(asRecord(child) ?? {}, depth + 1)]));
      }
      case 'array': {
        const count = Math.max(1, Number(node.minItems ?? 1));
        return depth > 8
          ? []
          : Array.from({ length: Math.max(1, Math.min(count, 50, left)) }, () =>
              build(asRecord(node.items) ?? { type: 'string' }, depth + 1),
            );
      }
      case 'integer':
      case 'number': {
        const minimum = Number(node.minimum ?? Number.NEGATIVE_INFINITY);
        const maximum = Number(node.maximum ?? Number.POSITIVE_INFINITY);
        const wanted = numbers.shift() ?? 0;
        const value = Math.min(maximum, Math.max(minimum, wanted));
        return type === 'integer' ? Math.round(value) : value;
      }
      case 'boolean':
        return true;
      case 'null':
        return null;
      default: {
        const limit = Number(node.maxLength ?? 2_000);
        return byFormat(asString(node.format), text)
          .slice(0, limit)
          .padEnd(Math.min(Number(node.minLength ?? 0), 1_000), '.');
      }
    }
  };
  return build(schema, 0);
}

function byFormat(format: string, text: string): string {
  switch (format) {
    case 'date':
      return '2026-01-01';
    case 'date-time':
      return '2026-01-01T00:00:00Z';
    case 'email':
      return 'simulator@example.com';
    case 'uri':
      return 'https://example.com/';
    default:
      return text;
  }
}
