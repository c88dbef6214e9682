import type { WorkerTool } from '@nexus-agent/protocol';

/** What happens to a call whose worker was lost: `none` and `idempotent` run again, `once` is put to a person. */
export type ToolEffects = WorkerTool['effects'];

/** What a tool knows of the call that it serves. */
export interface ToolCallContext {
  /** The idempotency key: the same however often the call is made. Pass it on to systems that support one. */
  readonly callId: string;
  readonly runId: string;
  readonly sessionId: string;
  /** W3C trace context of the call, where there is one. */
  readonly traceparent?: string;
  /** Fires when nobody waits for the result any more, and when the tool's time is over. */
  readonly signal: AbortSignal;
  /** Tells people who watch how far it is; nobody, of a client tool. */
  progress(text: string): void;
}

/** A tool as its author writes it. */
export interface ToolDefinition<Input> {
  /** 1 to 64 of the characters `A-Z a-z 0-9 _ . -`. */
  readonly name: string;
  /** For the model: what it does, and when to use it. */
  readonly description: string;
  /** A schema of zod or another library that speaks Standard Schema with JSON Schema, or a JSON Schema of an object. */
  readonly input: StandardSchema<Input> | JsonSchemaObject;
  /** JSON Schema of what it gives; what does not fit is a failure. */
  readonly output?: JsonSchemaObject;
  /** Default `once`. */
  readonly effects?: ToolEffects;
  /** What it touches, for people and policies, such as `crm.write`. */
  readonly permissions?: readonly string[];
  /** Longest time of a call. Default 60 s. */
  readonly timeoutMs?: number;
  /** Most that one call costs: reserved before it. */
  readonly maxCostMicroUsd?: number;
  /** Gives what the model reads: text, or anything that JSON can hold. What it throws is told to the model as a failure. */
  execute(input: Input, context: ToolCallContext): unknown;
}

/** What is used of https://standardschema.dev. */
export interface StandardSchema<Output> {
  readonly '~standard': {
    readonly validate: (value: unknown) => Validated<Output> | Promise<Validated<Output>>;
    readonly jsonSchema?: { readonly input: (options: { readonly target: 'draft-2020-12' }) => Record<string, unknown> };
  };
}
type Validated<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[] };

export type JsonSchemaObject = Readonly<Record<string, unknown>>;

/** A tool that can be served. */
export interface DefinedTool {
  /** As it is declared to the server. */
  readonly declared: WorkerTool;
  /** Checks the input and runs it. */
  run(input: Record<string, unknown>, context: ToolCallContext): Promise<unknown>;
}

/**
 * A tool from a function. With a schema of a library the function gets its typed input, defaults and transforms included. Throws a
 * `TypeError` for a schema of which its library gives no JSON Schema.
 */
export function defineTool<Input = Record<string, unknown>>(definition: ToolDefinition<Input>): DefinedTool {
  const { name, description, input, output, effects = 'once', permissions = [], timeoutMs = 60_000, maxCostMicroUsd } = definition;
  const schema = isStandard(input) ? input : null;
  const inputSchema = schema === null ? { ...input } : jsonSchemaOf(name, schema);
  return {
    declared: {
      ...{ name, description, inputSchema: inputSchema as Record<string, unknown>, effects, permissions: [...permissions], timeoutMs },
      ...(output === undefined ? {} : { outputSchema: { ...output } }),
      ...(maxCostMicroUsd === undefined ? {} : { maxCostMicroUsd }),
    },
    async run(given, context) {
      // A JSON Schema was checked by the server; its input is whatever the author says it is.
      const parsed = schema === null ? (given as Input) : await validated(name, schema, given);
      return await definition.execute(parsed, context);
    },
  };
}

function isStandard<Input>(input: StandardSchema<Input> | JsonSchemaObject): input is StandardSchema<Input> {
  return '~standard' in input;
}

async function validated<Input>(name: string, schema: StandardSchema<Input>, given: unknown): Promise<Input> {
  const result = await schema['~standard'].validate(given);
  if (result.issues === undefined) return result.value;
  const [issue] = result.issues;
  const place = issue?.path?.map((part) => String(typeof part === 'object' && part !== null && 'key' in part ? part.key : part)).join('.');
  throw new TypeError(
    `the arguments of ${name} do not fit: ${place === undefined || place === '' ? '' : `${place}: `}${issue?.message ?? ''}`,
  );
}

function jsonSchemaOf(name: string, schema: StandardSchema<unknown>): Record<string, unknown> {
  const { jsonSchema } = schema['~standard'];
  if (jsonSchema === undefined)
    throw new TypeError(`${name}: input: the library of this schema gives no JSON Schema; pass one itself, as { type: 'object', … }`);
  try {
    const { $schema: _dialect, ...rest } = jsonSchema.input({ target: 'draft-2020-12' });
    return rest;
  } catch (cause) {
    throw new TypeError(`${name}: input: this schema has no JSON Schema: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}
