import { z } from 'zod';
import { effectsClass } from '../events.ts';
import { AnyObject, Name, reservedName } from './names.ts';

/** What models and policies call a tool. */
const toolNamePattern = /^[A-Za-z0-9_.-]{1,64}$/;

/**
 * A name of a tool that is near to a text: letters without their accents, everything else as one `_`. Of a text that has no Latin letter
 * nothing is left; then the method and the path make one, such as `get_weather`.
 */
export function toolNameNear(text: string, method = '', path = ''): string {
  const plain = (given: string) =>
    given
      .normalize('NFKD')
      .replace(/\p{M}/gu, '')
      .replace(/[^A-Za-z0-9_.-]+/g, '_')
      .replace(/^[_.-]+|[_.-]+$/g, '')
      .slice(0, 64);
  const near = plain(text);
  if (/[A-Za-z0-9]/.test(near)) return near;
  return plain(`${method.toLowerCase()} ${path.replace(/[{}]/g, '')}`) || 'tool';
}

const headerName = z
  .string()
  .max(100)
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, { error: 'expected the name of a header, such as X-Api-Version' });
const template = z.string().max(4_000);

/** Where a value comes from: a text with `{argument}` for arguments and `${secret:NAME}`, or `secret:NAME` alone, for secrets. */
const HttpHeaders = z
  .record(headerName, template)
  .refine((headers) => Object.keys(headers).length <= 50, { error: 'expected at most 50 headers' })
  .refine((headers) => new Set(Object.keys(headers).map((name) => name.toLowerCase())).size === Object.keys(headers).length, {
    error: 'names one header twice',
  });

const secretText = template.min(1);

export const HttpAuth = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('none') }),
  z.strictObject({ type: z.literal('bearer'), token: secretText }),
  z.strictObject({ type: z.literal('basic'), username: secretText, password: secretText }),
  z.strictObject({ type: z.literal('header'), name: headerName, value: secretText }),
  z.strictObject({ type: z.literal('query'), name: z.string().min(1).max(100), value: secretText }),
]);
export type HttpAuth = z.infer<typeof HttpAuth>;

const argument = z.string().min(1).max(100);

/** `{argument}` alone sends a list as many values, or as one with commas between them. What names an argument that is not given is left out. */
const HttpQueryValue = z.union([template, z.strictObject({ value: template, list: z.enum(['repeat', 'comma']) })]);

export const HttpBody = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.enum(['json', 'form']),
    argument: argument.optional().describe('The argument that is the whole body'),
    fields: z.record(z.string().min(1).max(200), argument).optional().describe('The fields of the body, each with the argument that it is'),
    required: z.boolean().optional().describe('An empty body is sent where nothing of it is given'),
    contentType: z
      .string()
      .max(100)
      .regex(/^[\w.-]+\/[\w.-]+\+json$/, { error: 'expected a type that is JSON, such as application/vnd.api+json' })
      .optional()
      .describe('Of JSON; application/json when left out'),
  }),
  z.strictObject({ type: z.literal('text'), argument, contentType: z.string().min(1).max(100).default('text/plain; charset=utf-8') }),
]);
export type HttpBody = z.infer<typeof HttpBody>;

const pointer = z
  .string()
  .max(500)
  .regex(/^(\/[^/]*)*$/, { error: 'expected a JSON pointer, such as /items or /data/0' });

const HttpResponse = z.strictObject({
  as: z.enum(['json', 'text']).optional().describe('What the answer has to be; by its content type when left out'),
  pointer: pointer.optional().describe('The part of a JSON answer that the model is given'),
  pick: z
    .array(z.string().min(1).max(200))
    .min(1)
    .max(100)
    .optional()
    .describe('The members that are kept, of an object or of each object in a list'),
  maxBytes: z.int().min(1).max(8_388_608).default(1_048_576).describe('A longer answer is an error'),
});

export const HttpTool = z
  .strictObject({
    name: z.string().min(1).max(200),
    description: z.string().min(1).max(4_000),
    method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']).default('GET'),
    path: z
      .string()
      .max(2_000)
      .regex(/^\/[^?#\s\\]*$/, { error: 'expected a path that begins with /, such as /pets/{petId}; a query goes under query' }),
    query: z.record(z.string().min(1).max(200), HttpQueryValue).default({}),
    headers: HttpHeaders.default({}),
    auth: HttpAuth.optional().describe('In the place of that of the source'),
    body: HttpBody.optional(),
    inputSchema: AnyObject.optional(),
    outputSchema: AnyObject.optional(),
    response: HttpResponse.prefault({}),
    effects: effectsClass.optional(),
    timeoutMs: z.int().min(1).max(600_000).default(30_000),
    retries: z.int().min(0).max(5).optional().describe('Of a call that may be repeated; 2 when left out'),
    permissions: z.array(z.string().min(1).max(100)).max(20).default([]),
  })
  .check((context) => {
    const { name, method, path } = context.value;
    const wrong = toolNamePattern.test(name)
      ? reservedName(name)
      : `a tool is called by 1 to 64 of the characters A-Z a-z 0-9 _ . -, for models take no others; take for instance ${JSON.stringify(toolNameNear(name, method, path))}, and write what people read into the description`;
    if (wrong === null) return;
    context.issues.push({ code: 'custom', input: name, path: ['name'], message: `${JSON.stringify(name)} is no name of a tool: ${wrong}` });
  });
export type HttpTool = z.infer<typeof HttpTool>;

/** An API over HTTP, of which each tool is one request. */
export const HttpToolSource = z
  .strictObject({
    name: Name,
    description: z.string().max(4_000).default(''),
    baseUrl: z.url({ protocol: /^https?$/, error: 'expected an http or https address' }).max(2_000),
    headers: HttpHeaders.default({}),
    auth: HttpAuth.optional(),
    redirects: z.enum(['none', 'same-origin', 'any']).default('same-origin'),
    tools: z.array(HttpTool).min(1).max(2_000),
  })
  .meta({ id: 'HttpToolSource' });
export type HttpToolSource = z.infer<typeof HttpToolSource>;
/** As people write it: what is left out is filled in. */
export type HttpToolSourceInput = z.input<typeof HttpToolSource>;
