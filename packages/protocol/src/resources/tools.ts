import { z } from 'zod';
import { ErrorInfo } from '../errors.ts';
import { effectsClass } from '../events.ts';
import { AnyObject } from './names.ts';

export const ToolInfo = z
  .object({
    name: z.string(),
    description: z.string(),
    inputSchema: z.record(z.string(), z.unknown()),
    effects: effectsClass,
    permissions: z.array(z.string()),
    timeoutMs: z.int(),
    source: z.string().describe('Whose it is: `built-in`, `program`, or a kind and a name such as `mcp:github`'),
    tier: z.enum(['host', 'T0', 'T1', 'T2', 'T3', 'remote', 'person']).describe('Where it runs'),
  })
  .meta({ id: 'ToolInfo' });
export type ToolInfo = z.infer<typeof ToolInfo>;

export const ToolExecuteRequest = z
  .strictObject({ sessionId: z.string().max(100), input: AnyObject.default({}) })
  .meta({ id: 'ToolExecuteRequest' });
export const ToolExecuteResult = z
  .object({
    status: z.enum(['ok', 'error']),
    output: z.string(),
    error: ErrorInfo.optional(),
    durationMs: z.int(),
    /** Where all of an output is kept that was too long. */
    artifactId: z.string().optional(),
  })
  .meta({ id: 'ToolExecuteResult' });
export type ToolExecuteResult = z.infer<typeof ToolExecuteResult>;
