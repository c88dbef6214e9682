import { z } from 'zod';
import { effectsClass } from '../events.ts';
import { AnyObject, Name, ToolName } from './names.ts';

/** A tool that a worker serves, as its author declares it. */
export const WorkerTool = z
  .strictObject({
    name: ToolName,
    description: z.string().max(10_000),
    inputSchema: AnyObject.describe('JSON Schema of the arguments, of type object'),
    outputSchema: AnyObject.optional().describe('JSON Schema of what it gives'),
    effects: effectsClass.default('once').describe('What happens to a call whose worker is lost; `once` asks a person'),
    permissions: z.array(z.string().min(1).max(100)).max(20).default([]).describe('What it touches, for people and policies'),
    timeoutMs: z.int().min(1).max(86_400_000).default(60_000).describe('Longest time of one call at a worker'),
    maxCostMicroUsd: z.int().min(0).optional().describe('Most that one call costs: reserved before it, settled after it'),
  })
  .meta({ id: 'WorkerTool' });
export type WorkerTool = z.infer<typeof WorkerTool>;

/** With this a worker opens its stream. */
export const WorkerHello = z
  .strictObject({
    workerId: z.string().max(100).optional().describe('Of a worker that comes back: what `worker.ready` called it'),
    maxConcurrent: z.int().min(1).max(1_000).default(10).describe('Most calls that it takes at a time'),
    waitMs: z.int().min(0).max(3_600_000).default(60_000).describe('How long a call waits for a worker before the model is told'),
    tools: z.array(WorkerTool).min(1).max(100),
    about: z.record(z.string().max(50), z.string().max(200)).default({}).describe('For people: its host, its version'),
  })
  .meta({ id: 'WorkerHello' });
export type WorkerHello = z.infer<typeof WorkerHello>;

/** What a worker is told over its stream. */
export const WorkerMessage = z
  .discriminatedUnion('type', [
    z.object({
      type: z.literal('worker.ready'),
      workerId: z.string(),
      leaseMs: z.int().describe('A call is given to another worker when it was not reported for so long'),
      heartbeatMs: z.int().describe('How often a worker should report what it holds'),
    }),
    z.object({
      type: z.literal('call'),
      callId: z.string().describe('The idempotency key: the same however often the call is given out'),
      delivery: z.int().describe('Counts how often it was given out; a report says which one it is of'),
      tool: z.string(),
      input: z.record(z.string(), z.unknown()),
      timeoutMs: z.int(),
      runId: z.string(),
      sessionId: z.string(),
      traceparent: z.string().optional(),
    }),
    z.object({ type: z.literal('call.cancelled'), callId: z.string(), delivery: z.int(), reason: z.string() }),
  ])
  .meta({ id: 'WorkerMessage' });
export type WorkerMessage = z.infer<typeof WorkerMessage>;

const ofCall = { callId: z.string().min(1).max(200), delivery: z.int().min(1) };

/** What a worker says of one call. */
export const WorkerReport = z
  .discriminatedUnion('type', [
    z.strictObject({ type: z.literal('held'), ...ofCall }).describe('It is still at work on it'),
    z.strictObject({ type: z.literal('output'), ...ofCall, text: z.string().max(100_000) }).describe('Progress, for people who watch'),
    z
      .strictObject({ type: z.literal('completed'), ...ofCall, output: z.unknown(), costMicroUsd: z.int().min(0).optional() })
      .describe('Done; `output` is what the model reads'),
    z
      .strictObject({ type: z.literal('failed'), ...ofCall, message: z.string().max(10_000) })
      .describe('It failed, and the model is told so'),
    z.strictObject({ type: z.literal('returned'), ...ofCall }).describe('It did not begin it: another worker may'),
    z
      .strictObject({ type: z.literal('stopped'), ...ofCall, message: z.string().max(10_000) })
      .describe('It was cut off, by its time or because nobody wants it: what it did is not known'),
  ])
  .meta({ id: 'WorkerReport' });
export type WorkerReport = z.infer<typeof WorkerReport>;

export const WorkerReports = z
  .strictObject({
    workerId: z.string().min(1).max(100),
    leaving: z.boolean().optional().describe('It takes no more calls'),
    reports: z.array(WorkerReport).max(1_000),
  })
  .meta({ id: 'WorkerReports' });
export type WorkerReports = z.infer<typeof WorkerReports>;

/** What stands of the calls that were reported. */
export const WorkerReceipt = z
  .object({
    calls: z.array(
      z.object({
        callId: z.string(),
        delivery: z.int(),
        state: z
          .enum(['held', 'cancelled', 'taken', 'lost'])
          .describe(
            '`held`: go on; `cancelled`: stop, nobody wants it; `taken`: the answer counts; `lost`: it is not this worker’s any more',
          ),
      }),
    ),
  })
  .meta({ id: 'WorkerReceipt' });
export type WorkerReceipt = z.infer<typeof WorkerReceipt>;

/** A worker that is connected. */
export const ToolWorkerInfo = z
  .object({
    workerId: z.string(),
    pool: Name,
    about: z.record(z.string(), z.string()),
    maxConcurrent: z.int(),
    tools: z.array(z.string()),
    current: z
      .boolean()
      .describe('Whether runs that begin now are offered its tools; false where another worker brought others to the pool since'),
    connectedAt: z.string(),
  })
  .meta({ id: 'ToolWorkerInfo' });
export type ToolWorkerInfo = z.infer<typeof ToolWorkerInfo>;

/** Workers of one name, and the tools that they serve; it stays when none of them is connected. */
export const ToolPool = z
  .object({ name: Name, tools: z.array(z.string()), waitMs: z.int(), workers: z.int(), updatedAt: z.string() })
  .meta({ id: 'ToolPool' });
export type ToolPool = z.infer<typeof ToolPool>;
