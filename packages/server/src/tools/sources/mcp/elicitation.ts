import { isIP } from 'node:net';
import type { AskedForm, FormField } from '@nexus-agent/protocol';
import { z } from 'zod';
import { cutText, isObject, NexusError } from '#core';
import { visible, visibleLine } from '#core/visible';
import { fieldFault } from '#tools/contract';
import { hostnameOf, isPublicAddress } from '#tools/net';

const maxFields = 20;
const maxFormChars = 50_000;
const maxChoices = 100;
const maxUrlChars = 4_000;
const maxMessageChars = 4_000;

const Params = z.union([
  z.object({ mode: z.literal('url'), message: z.string(), url: z.string() }),
  z.object({
    mode: z.literal('form').optional(),
    message: z.string(),
    requestedSchema: z.object({
      type: z.literal('object'),
      properties: z.record(z.string(), z.record(z.string(), z.unknown())),
      required: z.array(z.string()).optional(),
    }),
  }),
]);

/** Who asks, as a person is told. */
export interface WhoAsks {
  readonly server: string;
  readonly tool: string;
  /** Whether the operator has granted the address: then it may be private, and without https. */
  readonly isGranted: (url: URL) => boolean;
}

/**
 * What a person is shown of a request for elicitation: without what nobody sees, cut to what a person reads, and of a form that is flat.
 * Throws `tool_failed` that says to the server what of it cannot be shown.
 */
export function formOf(params: unknown, { server, tool, isGranted }: WhoAsks): AskedForm {
  const read = Params.safeParse(params);
  if (!read.success) throw refused(`the elicitation is none: ${read.error.issues[0]?.path.join('.') ?? ''} cannot be read`);
  const { data } = read;
  const question = clean(data.message, maxMessageChars);
  const about = { server, tool, question: question === '' ? 'It asks without a word.' : question };
  if (data.mode === 'url') return { ...about, ...addressIn(data.url, isGranted) };
  const { properties, required = [] } = data.requestedSchema;
  const entries = Object.entries(properties);
  if (entries.length > maxFields) throw refused(`a form may have ${maxFields} fields`);
  const fields = entries.map(([name, schema]) => fieldOf(name, schema, required.includes(name)));
  const form = { ...about, fields };
  if (JSON.stringify(form).length > maxFormChars) throw refused(`a form may have ${maxFormChars} characters`);
  return form;
}

function addressIn(text: string, isGranted: (url: URL) => boolean): Pick<AskedForm, 'url' | 'host'> {
  const url = text.length > maxUrlChars ? null : URL.parse(text);
  if (url === null) throw refused(`the url cannot be read, or has more than ${maxUrlChars} characters`);
  if (url.username !== '' || url.password !== '') throw refused('the url may hold no user or password');
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isGranted(url))) throw refused('the url must begin with https:');
  // What is near the person who opens it, such as a router, takes the call of their browser for their own.
  if (isNear(hostnameOf(url)) && !isGranted(url)) throw refused('the url must be of a public host');
  // As browsers read it: what looks like another address is written out.
  return { url: url.href, host: url.host };
}

function isNear(hostname: string): boolean {
  return /(^|\.)localhost$/.test(hostname) || (isIP(hostname) !== 0 && !isPublicAddress(hostname));
}

function fieldOf(name: string, schema: Readonly<Record<string, unknown>>, required: boolean): FormField {
  if (name === '' || name.length > 100 || visibleLine(name) !== name || name === '__proto__')
    throw refused('a field has a name that cannot be shown');
  const about = { name, ...textField('title', schema.title), ...textField('description', schema.description), required };
  const field = { ...about, ...fieldKind(name, schema) };
  return { ...field, ...defaultOf(field, schema.default) };
}

type Kind = Omit<FormField, 'name' | 'title' | 'description' | 'required' | 'default'>;

function fieldKind(name: string, schema: Readonly<Record<string, unknown>>): Kind {
  switch (schema.type) {
    case 'boolean':
      return { type: 'boolean' };
    case 'number':
    case 'integer':
      return { type: schema.type, ...numberField('minimum', schema.minimum), ...numberField('maximum', schema.maximum) };
    case 'array': {
      const items = isObject(schema.items) ? schema.items : {};
      return {
        type: 'choices',
        choices: choicesOf(name, items),
        ...countField('minItems', schema.minItems),
        ...countField('maxItems', schema.maxItems),
      };
    }
    case 'string': {
      if (['enum', 'oneOf', 'anyOf'].some((key) => schema[key] !== undefined)) return { type: 'choice', choices: choicesOf(name, schema) };
      const format = z.enum(['email', 'uri', 'date', 'date-time']).safeParse(schema.format).data;
      return {
        type: 'text',
        ...countField('minLength', schema.minLength),
        ...countField('maxLength', schema.maxLength),
        ...(format === undefined ? {} : { format }),
      };
    }
    default:
      throw refused(`the field ${name} is of a type that no form has: expected string, number, integer, boolean, or an array of choices`);
  }
}

/** In the three ways in which the revisions of the protocol write them. */
function choicesOf(name: string, schema: Readonly<Record<string, unknown>>): NonNullable<FormField['choices']> {
  const titled = [schema.oneOf, schema.anyOf].find(Array.isArray);
  const names: readonly unknown[] = Array.isArray(schema.enumNames) ? schema.enumNames : [];
  const given: readonly (readonly [unknown, unknown])[] =
    titled !== undefined
      ? titled.map((each: unknown) => (isObject(each) ? [each.const, each.title] : [undefined, undefined]))
      : Array.isArray(schema.enum)
        ? schema.enum.map((value: unknown, index) => [value, names[index]])
        : [];
  if (given.length === 0 || given.length > maxChoices) throw refused(`the field ${name} must have 1 to ${maxChoices} choices`);
  return given.map(([value, title]) => {
    if (typeof value !== 'string' || value.length > 200 || visibleLine(value) !== value)
      throw refused(`the field ${name} has a choice that cannot be shown`);
    return { value, ...textField('title', title) };
  });
}

/** One that does not fit its own field is left out. */
function defaultOf(field: FormField, value: unknown): Pick<FormField, 'default'> {
  if (value === undefined) return {};
  return fieldFault(field, value) === null && isShown(value) ? { default: value } : {};
}

function isShown(value: unknown): value is NonNullable<FormField['default']> {
  const texts = typeof value === 'string' ? [value] : Array.isArray(value) ? value : [];
  return texts.every((text: unknown) => typeof text === 'string' && text.length <= 1_000 && visible(text) === text);
}

function textField<Key extends 'title' | 'description'>(key: Key, value: unknown): { readonly [Name in Key]?: string } {
  // A title that ended its line could pass for another field, or for a word of ours.
  const text = typeof value !== 'string' ? '' : key === 'title' ? visibleLine(clean(value, 200)) : clean(value, 1_000);
  return text === '' ? {} : ({ [key]: text } as { readonly [Name in Key]?: string }); // the key that was given
}

function numberField<Key extends string>(key: Key, value: unknown): { readonly [Name in Key]?: number } {
  return typeof value === 'number' && Number.isFinite(value) ? ({ [key]: value } as { readonly [Name in Key]?: number }) : {}; // the key that was given
}

function countField<Key extends string>(key: Key, value: unknown): { readonly [Name in Key]?: number } {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? numberField(key, value) : {};
}

function clean(text: string, maxChars: number): string {
  const cut = cutText(text, maxChars);
  return visible(cut === text ? text : `${cut}…`).trim();
}

function refused(message: string): NexusError {
  return new NexusError('tool_failed', message);
}
