import { type AskedForm, dictionary, type FormField } from '@nexus-agent/protocol';
import { z } from 'zod';
import { cutText } from '#core';

/** What a person filled in, with the defaults of what they left out; or what is wrong with it, by the names of its fields. */
export function readFormAnswer(
  { fields = [] }: Pick<AskedForm, 'fields'>,
  content: Readonly<Record<string, unknown>>,
): { readonly type: 'ok'; readonly content: Record<string, unknown> } | { readonly type: 'unfit'; readonly faults: readonly string[] } {
  const names = new Set(fields.map(({ name }) => name));
  const faults = Object.keys(content).flatMap((name) =>
    names.has(name) ? [] : [`${cutText(name, 100)}: the form has no such field; it has ${[...names].join(', ') || 'none'}`],
  );
  const filled = fields.flatMap((field): [string, unknown][] => {
    const given = Object.hasOwn(content, field.name) ? content[field.name] : undefined;
    const value = given ?? field.default;
    if (value === undefined && field.required) faults.push(`${field.name}: it must be filled in`);
    if (value === undefined) return [];
    const fault = fieldFault(field, value);
    if (fault !== null) faults.push(`${field.name}: ${fault}`);
    return [[field.name, value]];
  });
  return faults.length > 0 ? { type: 'unfit', faults } : { type: 'ok', content: Object.fromEntries(filled) };
}

/** What is wrong with what was filled in; null: nothing. */
export function fieldFault(field: FormField, value: unknown): string | null {
  const { choices = [], minLength = 0, maxLength = 10_000, minimum, maximum, minItems = 0, maxItems = choices.length } = field;
  const isChoice = (each: unknown) => choices.some((choice) => choice.value === each);
  switch (field.type) {
    case 'boolean':
      return typeof value === 'boolean' ? null : 'expected true or false';
    case 'number':
    case 'integer':
      if (typeof value !== 'number' || !Number.isFinite(value)) return 'expected a number';
      if (field.type === 'integer' && !Number.isSafeInteger(value)) return 'expected a whole number';
      if (minimum !== undefined && value < minimum) return `expected at least ${minimum}`;
      return maximum !== undefined && value > maximum ? `expected at most ${maximum}` : null;
    case 'choice':
      return isChoice(value) ? null : `expected one of ${listed(field)}`;
    case 'choices':
      if (!Array.isArray(value) || !value.every(isChoice)) return `expected a list of ${listed(field)}`;
      if (new Set(value).size !== value.length) return 'expected each choice once';
      return value.length < minItems || value.length > maxItems ? `expected ${minItems} to ${maxItems} choices` : null;
    case 'text':
      if (typeof value !== 'string') return 'expected text';
      if ([...value].length < minLength || [...value].length > maxLength) return `expected ${minLength} to ${maxLength} characters`;
      return field.format === undefined || formats[field.format].safeParse(value).success ? null : `expected ${formatNames[field.format]}`;
  }
}

const formats = dictionary({ email: z.email(), uri: z.url(), date: z.iso.date(), 'date-time': z.iso.datetime({ offset: true }) });
const formatNames = dictionary({
  email: 'an address such as ada@example.com',
  uri: 'an address such as https://example.com/a',
  date: 'a date such as 2026-05-31',
  'date-time': 'a time with its zone, such as 2026-05-31T08:00:00Z',
});

function listed({ choices = [] }: FormField): string {
  return cutText(choices.map(({ value }) => value).join(', '), 500);
}
