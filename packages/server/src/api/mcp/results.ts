import type { CallToolResult } from '@modelcontextprotocol/server';
import type { ErrorInfo } from '@nexus-agent/protocol';
import { NexusError } from '#core';

/** What a call gave that clients may use: which session it ran in, and which error it was. Names of `_meta` begin with whose they are. */
const metaPrefix = 'nexus-agent/';

export function textResult(text: string, facts: Readonly<Record<string, unknown>> = {}): CallToolResult {
  return { content: [{ type: 'text', text }], ...metaOf(facts) };
}

/** What the model that called reads of a failure, so that it can do better: the code, and the message that says what would be right. */
export function errorResult({ code, message, details }: ErrorInfo, facts: Readonly<Record<string, unknown>> = {}): CallToolResult {
  const error = { code, ...(details === undefined ? {} : { details }) };
  return { content: [{ type: 'text', text: `${code}: ${message}` }], isError: true, ...metaOf({ ...facts, error }) };
}

function metaOf(facts: Readonly<Record<string, unknown>>): Pick<CallToolResult, '_meta'> {
  const entries = Object.entries(facts).map(([name, value]) => [metaPrefix + name, value]);
  return entries.length === 0 ? {} : { _meta: Object.fromEntries(entries) };
}

/** Failures that the caller of a tool is told as a result; what is no failure of the call itself is thrown on. */
export function resultOfRefusal(error: unknown): CallToolResult {
  if (!(error instanceof NexusError) || error.code === 'internal') throw error;
  return errorResult(error.toInfo());
}
