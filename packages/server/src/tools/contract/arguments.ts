import type { AgentDefinition, ErrorInfo } from '@nexus-agent/protocol';
import { matchesWildcard, NexusError, type SchemaIssue, type SchemaValidator, toErrorInfo } from '#core';
import { offerOf } from './declared-servers.ts';
import type { ToolDescriptor } from './descriptor.ts';

/** Tools whose name fits one of the patterns (`fs_*`), each once, in the order of the list. */
export function selectTools<T extends Pick<ToolDescriptor, 'name'>>(tools: readonly T[], patterns: readonly string[]): T[] {
  return tools.filter((tool) => patterns.some((pattern) => matchesWildcard(pattern, tool.name)));
}

/** What an agent is offered of these: what its definition names, and the tools of the MCP servers that it declares, of which it may name some. */
export function offeredTools<T extends Pick<ToolDescriptor, 'name' | 'source' | 'serverMark'>>(
  tools: readonly T[],
  definition: Pick<AgentDefinition, 'tools' | 'mcpServers'>,
): T[] {
  if (definition.mcpServers === undefined) return selectTools(tools, definition.tools);
  return tools.filter((tool) => {
    const offer = offerOf(definition, tool);
    return offer === 'offered' || (offer === 'named' && selectTools([tool], definition.tools).length > 0);
  });
}

export type CheckedArguments =
  | { readonly type: 'ok'; readonly input: Record<string, unknown> }
  | { readonly type: 'error'; readonly error: ErrorInfo };

const anyObject = { type: 'object' };

/** Holds arguments against the tool's input schema; the error names the path, what was there and what is expected. */
export function checkArguments(
  schemas: SchemaValidator,
  tool: Pick<ToolDescriptor, 'name' | 'inputSchema'>,
  input: unknown,
): CheckedArguments {
  let issues: readonly SchemaIssue[];
  try {
    issues = schemas.check(anyObject, input);
    if (issues.length === 0) issues = schemas.check(tool.inputSchema, input);
  } catch (error) {
    return { type: 'error', error: toErrorInfo(error) };
  }
  if (issues.length === 0) return { type: 'ok', input: input as Record<string, unknown> }; // the first check says so
  const message = `the arguments of ${tool.name} do not fit: ${issues.map(describeIssue).join('; ')}`;
  return { type: 'error', error: new NexusError('tool_input_invalid', message, { details: { issues } }).toInfo() };
}

/** What is wrong with what a tool gave, by its own schema; null where nothing is. */
export function outputFault(
  schemas: SchemaValidator,
  { name, outputSchema }: { readonly name: string; readonly outputSchema?: Readonly<Record<string, unknown>> | undefined },
  output: unknown,
): { readonly issue: SchemaIssue; readonly message: string } | null {
  const [issue] = outputSchema === undefined ? [] : schemas.check(outputSchema, output);
  if (issue === undefined) return null;
  return { issue, message: `the tool ${name} gave an output that does not fit its own schema (${describeIssue(issue)})` };
}

function describeIssue(issue: SchemaIssue): string {
  return `at "${issue.path === '' ? '(root)' : issue.path}" expected ${issue.expected}, found ${issue.actual}`;
}
