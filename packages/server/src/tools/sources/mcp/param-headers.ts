import { isObject } from '#core';

const keyword = 'x-mcp-header';
const plainTypes: ReadonlySet<unknown> = new Set(['string', 'integer', 'boolean']);
/** These hold values, not schemas. */
const ofValues = new Set(['default', 'const', 'enum', 'examples']);

/**
 * What is wrong with the headers that a tool wants its arguments repeated in: the protocol has such a tool left out. Null where nothing is.
 * Two of one name, or one whose place in the arguments is not certain, would say something else than the arguments do.
 */
export function paramHeaderFault(schema: unknown): string | null {
  const names = new Set<string>();

  function faultIn(node: unknown, isProperty: boolean, isCertain: boolean): string | null {
    if (Array.isArray(node)) return firstOf(node, (item) => faultIn(item, false, false));
    if (!isObject(node)) return null;
    if (Object.hasOwn(node, keyword)) {
      const name = node[keyword];
      if (!isProperty || !isCertain) return 'it is not at a property of its own';
      if (typeof name !== 'string' || !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) return 'its name is not that of a header';
      if (!plainTypes.has(node.type)) return 'its property is no string, integer or boolean';
      if (names.has(name.toLowerCase())) return 'two have one name';
      names.add(name.toLowerCase());
    }
    const { properties, ...rest } = node;
    const own = isObject(properties) ? firstOf(Object.values(properties), (each) => faultIn(each, true, isCertain)) : null;
    const others = Object.entries(rest).filter(([key]) => !ofValues.has(key) && key !== keyword);
    return own ?? firstOf(others, ([, each]) => faultIn(each, false, false));
  }

  const fault = faultIn(schema, false, true);
  return fault === null ? null : `it wants an argument as a header (${keyword}) in a way that is not permitted: ${fault}`;
}

function firstOf<Item>(items: readonly Item[], faultOf: (item: Item) => string | null): string | null {
  for (const item of items) {
    const fault = faultOf(item);
    if (fault !== null) return fault;
  }
  return null;
}
