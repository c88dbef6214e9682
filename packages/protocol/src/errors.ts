import { z } from 'zod';
import { errorTable } from './error-table.ts';

export type ErrorCode = keyof typeof errorTable;

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]; // Object.keys loses the literal type
export const ErrorCode = z.enum(codes);

/** An error as a value: in events, in tool results, in stored runs. Never carries stacks, prompts or secrets. */
export const ErrorInfo = z.object({
  code: ErrorCode,
  message: z.string(),
  retryable: z.boolean().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});
export type ErrorInfo = z.infer<typeof ErrorInfo>;

/** RFC 9457 body of every failed HTTP answer, and of the `error` event on a stream. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: ErrorCode,
    instance: z.string().optional(),
    retryable: z.boolean(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof Problem>;
