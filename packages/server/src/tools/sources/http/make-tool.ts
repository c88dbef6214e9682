import type { HttpTool, HttpToolSource } from '@nexus-agent/protocol';
import type { JsonSchema } from '#core';
import type { Tool } from '#tools/contract';
import { callHttp, type HttpCallEnvironment } from './call.ts';
import { planRequest, type RequestPlan } from './plan.ts';
import { argumentsOf } from './template.ts';

/** A tool of a definition that was checked. */
export function makeHttpTool(environment: HttpCallEnvironment, source: HttpToolSource, tool: HttpTool): Tool {
  const plan = planRequest(source, tool);
  const { outputSchema, timeoutMs } = tool;
  return {
    name: tool.name,
    description: tool.description,
    inputSchema: inputSchemaOf(tool, plan),
    ...(outputSchema === undefined ? {} : { outputSchema }),
    effects: plan.effects,
    permissions: [...new Set(['net.egress', ...tool.permissions])],
    timeoutMs,
    source: `http:${source.name}`,
    tier: 'remote',
    execute: (input, context) => callHttp(environment, plan, outputSchema !== undefined, input, context),
  };
}

const textOrTexts: JsonSchema = { type: ['string', 'array'], items: { type: 'string' } };

/** As it is given, else what the request names: texts in the address and the headers, anything in the body. */
function inputSchemaOf({ inputSchema }: Pick<HttpTool, 'inputSchema'>, plan: RequestPlan): JsonSchema {
  if (inputSchema !== undefined) return inputSchema;
  const inPath = new Set(plan.path.flatMap(argumentsOf));
  const { body } = plan;
  // Of these in turn the first that names an argument says what it is.
  const named: readonly (readonly [names: readonly string[], schema: JsonSchema])[] = [
    [[...inPath, ...plan.headers.flatMap(({ value }) => argumentsOf(value))], { type: 'string' }],
    ...plan.query.map(({ value }) => [argumentsOf(value), value.length === 1 ? textOrTexts : { type: 'string' }] as const),
    [body?.type === 'text' ? [body.argument] : [], { type: 'string' }],
    [[...plan.used], {}],
  ];
  const properties = new Map<string, JsonSchema>();
  for (const [names, schema] of named) for (const name of names) if (!properties.has(name)) properties.set(name, schema);
  const whole = body !== null && (body.type === 'text' || body.from === 'argument') ? [body.argument] : [];
  return {
    type: 'object',
    properties: Object.fromEntries(properties),
    required: [...new Set([...inPath, ...whole])],
    additionalProperties: body !== null && body.type !== 'text' && body.from === 'rest',
  };
}
