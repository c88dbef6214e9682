/** What the port speaks of as messages of the wire, and back. What came over the wire is believed only once it fits. */
import { dictionary, ErrorCode, type ErrorInfo, idPrefixes, isTypeId } from '@nexus-agent/protocol';
import { z } from 'zod';
import { isTooDeep, parseTraceparent } from '#core';
import type { AuthorizationAnswer, ToolCall, ToolDescriptor, ToolPart } from '#tools/contract';

const effects = dictionary({ EFFECTS_NONE: 'none', EFFECTS_IDEMPOTENT: 'idempotent', EFFECTS_ONCE: 'once' } as const);

/** Ids name folders: nothing in them leads anywhere else. */
const id = z.string().regex(/^\w[\w.:@-]{0,199}$/, { error: 'expected 1 to 200 of the characters A-Z a-z 0-9 _ . : @ -' });
const optional = z.string().optional();
const ms = z.number().min(0).max(Number.MAX_SAFE_INTEGER);

const json = z.string().transform((text, context): unknown => {
  try {
    if (!isTooDeep(text)) return JSON.parse(text);
  } catch {
    // said below
  }
  context.addIssue({ code: 'custom', message: 'expected JSON that is not nested too deeply', input: undefined });
  return z.NEVER;
});
const jsonObject = json.pipe(z.record(z.string(), z.unknown()));

function asJson(value: unknown): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value);
}

/** Without what is undefined: an optional field that is not there. */
function present<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)) as T; // less of it
}

const WireError = z
  .object({ code: z.string(), message: z.string(), retryable: z.boolean().optional(), detailsJson: jsonObject.optional() })
  .transform(({ code, message, retryable, detailsJson }): ErrorInfo => {
    const known = ErrorCode.safeParse(code);
    // A newer agent core may know codes that this process does not.
    return present({ code: known.success ? known.data : 'tool_failed', message, retryable, details: detailsJson });
  });

export function errorToWire({ code, message, retryable, details }: ErrorInfo): object {
  return present({ code, message: message.toWellFormed(), retryable, detailsJson: asJson(details) });
}

export const errorFromWire = (wire: unknown): ErrorInfo | undefined => WireError.safeParse(wire).data;

const WireTool = z
  .object({
    name: z.string().min(1),
    version: z.string(),
    description: z.string(),
    inputSchemaJson: jsonObject,
    outputSchemaJson: jsonObject.optional(),
    effects: z.enum(['EFFECTS_NONE', 'EFFECTS_IDEMPOTENT', 'EFFECTS_ONCE']),
    permissions: z.array(z.string()),
    timeoutMs: ms,
    source: optional,
    serverMark: optional,
    tier: z.enum(['host', 'T0', 'T1', 'T2', 'T3', 'remote', 'person']).optional(),
    maxCostMicroUsd: z.int().optional(),
    kind: z.enum(['question', 'timer']).optional(),
    callsTools: z.boolean().optional(),
    rejoinable: z.boolean().optional(),
    asks: z.array(z.string()).optional(),
  })
  .transform(
    ({ inputSchemaJson, outputSchemaJson, callsTools, rejoinable, asks = [], ...tool }): ToolDescriptor =>
      present({
        ...tool,
        callsTools: callsTools === true ? true : undefined,
        rejoinable: rejoinable === true ? true : undefined,
        asks: asks.length > 0 ? asks : undefined,
        inputSchema: inputSchemaJson,
        outputSchema: outputSchemaJson,
        effects: effects[tool.effects],
      }) as ToolDescriptor, // no field is undefined
  );

export function toolToWire({ inputSchema, outputSchema, ...tool }: ToolDescriptor): object {
  const { name, version, description, permissions, timeoutMs, source, serverMark, tier } = tool;
  const { maxCostMicroUsd, kind, callsTools, rejoinable, asks } = tool;
  return present({
    ...{
      name,
      version,
      description,
      permissions,
      timeoutMs,
      source,
      serverMark,
      tier,
      maxCostMicroUsd,
      kind,
      callsTools,
      rejoinable,
      asks,
    },
    effects: `EFFECTS_${tool.effects.toUpperCase()}`,
    inputSchemaJson: asJson(inputSchema),
    outputSchemaJson: asJson(outputSchema),
  });
}

export const ListToolsRequest = z.object({ tenantId: id });
export const ListToolsResponse = z.object({ tools: z.array(WireTool) });

const StateContent = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.int().min(0) });
const Suspended = z.object({
  state: StateContent,
  calls: z.array(z.object({ id: z.int().min(1), name: z.string(), input: z.string() })).min(1),
  fuelUsed: z.number().min(0),
  printed: z.string(),
});

const callFields = { tenantId: id, sessionId: id, filesOf: id.optional(), runId: id, callId: id, attempt: z.int().min(0) };

const ExecuteRequest = z.object({
  ...callFields,
  idempotencyKey: z.string().max(1_000),
  toolName: z.string().max(1_000),
  toolVersion: optional,
  inputJson: json.optional(),
  timeoutMs: ms,
  readsArtifacts: z.boolean().optional(),
  rejoins: z.boolean().optional(),
  callingJson: json.pipe(z.object({ offered: z.array(z.string()), waitMs: ms })).optional(),
  resumeJson: json
    .pipe(
      z.object({
        state: StateContent,
        results: z.array(z.object({ id: z.int().min(1), isError: z.boolean(), output: z.string() })),
      }),
    )
    .optional(),
});

/** The call that a request asks for; `traceparent` comes in the metadata. Throws a `ZodError`. */
export function callFromWire(wire: unknown, traceparent: string | undefined): ToolCall {
  const { inputJson, callingJson: calling, resumeJson: resume, rejoins, ...call } = ExecuteRequest.parse(wire);
  const known = traceparent !== undefined && parseTraceparent(traceparent) !== undefined;
  return {
    ...present({ ...call, calling, resume, rejoins: rejoins === true ? true : undefined }),
    input: inputJson,
    ...(known ? { traceparent } : {}),
  } as ToolCall; // `present` leaves no undefined behind
}

/** Throws where the arguments cannot be JSON. */
export function callToWire({ input, traceparent: _traceparent, calling, resume, ...call }: ToolCall): object {
  return present({ ...call, inputJson: asJson(input), callingJson: asJson(calling), resumeJson: asJson(resume) });
}

const FileContent = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.int().min(0), executable: z.boolean() });
const Files = z.object({
  treeId: id,
  version: z.int().min(0),
  changes: z.array(z.object({ path: z.string().min(1), content: FileContent.nullish().transform((content) => content ?? null) })),
});
const count = z.int().min(0);
const Artifact = z.object({
  artifactId: z.string().refine((value) => isTypeId(idPrefixes.artifact, value)),
  ...{ sha256: StateContent.shape.sha256, bytes: count, characters: count, lines: count, mediaType: z.string(), whole: z.boolean() },
  cut: z.object({ shownChars: count, noteChars: count, totalChars: count }),
});
const duration = { durationMs: ms, waitedMs: ms.optional() };

const WirePart = z.discriminatedUnion('part', [
  z.object({ part: z.literal('output'), output: z.object({ text: z.string() }) }),
  z.object({
    part: z.literal('authorizationWanted'),
    authorizationWanted: z.object({
      authorizationId: z.string(),
      action: z.enum(['net.egress', 'secret.use', 'file.read', 'file.write']),
      resource: z.string(),
      contextJson: jsonObject.optional(),
    }),
  }),
  z.object({
    part: z.literal('completed'),
    completed: z.object({
      ...{ output: z.string(), costMicroUsd: z.int().min(0), files: Files.nullish(), artifactJson: json.pipe(Artifact).optional() },
      ...duration,
    }),
  }),
  z.object({ part: z.literal('suspended'), suspended: z.object({ suspensionJson: json.pipe(Suspended), ...duration }) }),
  z.object({ part: z.literal('failed'), failed: z.object({ error: WireError, began: z.boolean(), ...duration }) }),
]);

/** Undefined for what is no part of a call. */
export function partFromWire(wire: unknown): ToolPart | undefined {
  const { data } = WirePart.safeParse(wire);
  switch (data?.part) {
    case undefined:
      return undefined;
    case 'output':
      return { type: 'output', text: data.output.text };
    case 'authorizationWanted': {
      const { contextJson: context, ...wanted } = data.authorizationWanted;
      return { type: 'authorization.wanted', ...wanted, ...(context === undefined ? {} : { context }) };
    }
    case 'completed': {
      const { artifactJson: artifact, ...end } = data.completed;
      return present({ type: 'completed', ...end, artifact }) as ToolPart; // `present` leaves no undefined or null behind
    }
    case 'suspended': {
      const { suspensionJson, ...end } = data.suspended;
      return present({ type: 'suspended', ...suspensionJson, ...end }) as ToolPart; // as above
    }
    case 'failed':
      return present({ type: 'failed', ...data.failed }) as ToolPart; // as above
  }
}

export function partToWire(part: ToolPart): object {
  switch (part.type) {
    case 'output':
      return { output: { text: part.text.toWellFormed() } };
    case 'authorization.wanted': {
      const { type: _type, context, resource, ...wanted } = part;
      return { authorizationWanted: present({ ...wanted, resource: resource.toWellFormed(), contextJson: asJson(context) }) };
    }
    case 'completed': {
      const { type: _type, files, artifact, output, ...end } = part;
      const changes = files?.changes.map(({ path, content }) => present({ path, content }));
      return {
        completed: present({
          ...end,
          output: output.toWellFormed(),
          files: files && { ...files, changes },
          artifactJson: asJson(artifact),
        }),
      };
    }
    case 'suspended': {
      const { type: _type, durationMs, waitedMs, ...suspension } = part;
      return { suspended: present({ durationMs, waitedMs, suspensionJson: asJson(suspension) }) };
    }
    case 'failed': {
      const { type: _type, error, ...end } = part;
      return { failed: present({ ...end, error: errorToWire(error) }) };
    }
  }
}

const AuthorizeRequest = z.object({
  callId: id,
  attempt: z.int().min(0),
  authorizationId: z.string(),
  allowed: z.object({ always: z.boolean() }).nullish(),
  denied: z.object({ error: WireError.nullish() }).nullish(),
});

/** Without a verdict it is a denial. Throws a `ZodError`. */
export function answerFromWire(wire: unknown): AuthorizationAnswer {
  const { allowed, denied, ...about } = AuthorizeRequest.parse(wire);
  const none: ErrorInfo = { code: 'policy_denied', message: 'whoever was asked did not allow it', retryable: false };
  if (!allowed || denied) return { ...about, allowed: false, error: denied?.error ?? none };
  return { ...about, allowed: true, ...(allowed.always ? { always: true } : {}) };
}

export function answerToWire(answer: AuthorizationAnswer): object {
  const { callId, attempt, authorizationId } = answer;
  const about = { callId, attempt, authorizationId };
  return answer.allowed
    ? { ...about, allowed: { always: answer.always === true } }
    : { ...about, denied: { error: errorToWire(answer.error) } };
}

export const CancelRequest = z.object({ tenantId: id, callId: id, attempt: z.int().min(0) });
export const CancelResponse = z.object({ found: z.boolean() });
