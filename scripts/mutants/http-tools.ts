import { type Mutant, server } from './mutant.ts';

const http = `${server}/tools/sources/http`;
const imported = [`${http}/openapi/elsewhere.test.ts`];
const requests = [`${http}/http-tools.test.ts`];
const answers = [`${http}/http-answers.test.ts`];
const access = [`${http}/http-access.test.ts`];

/** Of tools that are requests of an API. */
export const httpToolMutants: readonly Mutant[] = [
  {
    bug: 'http tool: an argument leads out of its segment of the path',
    file: `${http}/make-request.ts`,
    replace: 'value.replace(/[^\\x21-\\x7e]+/g, escaped) : escaped(value);',
    by: 'value.replace(/[^\\x21-\\x7e]+/g, escaped) : value;',
    tests: requests,
  },
  {
    bug: 'http tool: two dots are a segment of the path',
    file: `${http}/make-request.ts`,
    replace: '/^\\.{1,2}$/.test(plain)',
    by: '/^\\.{3}$/.test(plain)',
    tests: requests,
  },
  {
    bug: 'http tool: what is sent once is sent again',
    file: `${http}/plan.ts`,
    replace: "retries: effects === 'once' ? 0 : (tool.retries ?? 2),",
    by: 'retries: tool.retries ?? 2,',
    tests: requests,
  },
  {
    bug: 'http tool: a lost answer of what is sent once is a plain failure',
    file: `${http}/call.ts`,
    replace: "if (effects !== 'once' || !connected || answered)",
    by: "if (effects !== 'once' || connected || answered)",
    tests: requests,
  },
  {
    bug: 'http tool: headers of a definition go along to another host',
    file: `${http}/exchange.ts`,
    replace: '.filter(([name]) => plainHeaders.has(name))',
    by: '.filter(([name]) => !plainHeaders.has(name))',
    tests: access,
  },
  {
    bug: 'http tool: no policy is asked about a secret',
    file: `${http}/call.ts`,
    replace:
      'if (!verdict.allowed) throw new NexusError(verdict.error.code, verdict.error.message, { details: verdict.error.details ?? {} });\n    values.set',
    by: 'values.set',
    tests: access,
  },
  {
    bug: 'http tool: an answer has no limit',
    file: `${http}/read-answer.ts`,
    replace: 'if (!complete)',
    by: 'if (!complete && bytes.length === 0)',
    tests: answers,
  },
  {
    bug: 'http tool: long numbers lose their digits',
    file: `${http}/read-answer.ts`,
    replace: 'return typed ? JSON.parse(plain) : parseExactJson(plain);',
    by: 'return JSON.parse(plain);',
    tests: imported,
  },
  {
    bug: 'http tool: a required body is left out where it is empty',
    file: `${http}/make-request.ts`,
    replace: "given === undefined && body.required && body.from !== 'argument' ? {} : given",
    by: 'given',
    tests: imported,
  },
  {
    bug: 'http tool: every JSON is application/json',
    file: `${http}/make-request.ts`,
    replace: 'text: JSON.stringify(value), contentType }',
    by: "text: JSON.stringify(value), contentType: 'application/json' }",
    tests: imported,
  },
  {
    bug: 'http tool: of several choices exactly one may fit',
    file: `${http}/openapi/schemas.ts`,
    replace: "if (choices.length === 1) schema.set('anyOf', choices[0]);",
    by: "if (choices.length === 1) schema.set(any === null ? 'oneOf' : 'anyOf', choices[0]);",
    tests: imported,
  },
  {
    bug: 'http tool: closed parts close the whole',
    file: `${http}/openapi/schemas.ts`,
    replace: '.map(opened)',
    by: '',
    tests: imported,
  },
  {
    bug: 'http tool: a null that the API takes is refused',
    file: `${http}/openapi/schemas.ts`,
    replace: 'return given.nullable === true && type === undefined ? orNull(schema) : Object.fromEntries(schema);',
    by: 'return Object.fromEntries(schema);',
    tests: imported,
  },
  {
    bug: 'http tool: members of an object in the query lose its name',
    file: `${http}/openapi/arguments.ts`,
    replace: "      const isDeep = given.style === 'deepObject';",
    by: "      const isDeep = given.style === 'form';",
    tests: imported,
  },
  {
    bug: 'http tool: a file of a form is sent as text',
    file: `${http}/openapi/arguments.ts`,
    replace: "  return schema.format === 'binary' ||",
    by: "  return schema.format === 'base64' ||",
    tests: [`${http}/openapi/import-openapi.test.ts`],
  },
];
