import { type RunId, RunId as RunIdSchema } from '@nexus-agent/protocol';
import { derivedId } from '#core';
import { describeTool, type ToolDescriptor } from '#tools';

const prefix = 'agent_';

const inputSchema = {
  type: 'object',
  properties: {
    task: { type: 'string', minLength: 1, description: 'What it is to do, with everything it needs to know' },
    // A model may say any number: beyond this one a database takes it and nobody can read it any more.
    maxCostMicroUsd: {
      type: 'integer',
      minimum: 1,
      maximum: Number.MAX_SAFE_INTEGER,
      description: 'Most that it may spend, in millionths of a US dollar',
    },
  },
  required: ['task'],
  additionalProperties: false,
};

/** The tool by which an agent calls another one. The engine starts a run for it; the tool service does not know it. */
export function subagentTool(name: string): ToolDescriptor {
  return describeTool({
    name: `${prefix}${name}`,
    description: `Hand a task to the agent "${name}". It works on its own with the same files and gives back its answer.`,
    inputSchema,
    effects: 'idempotent',
    permissions: ['agent.call'],
    timeoutMs: 86_400_000,
  });
}

/** The agent that a tool name calls, or null when it is a plain tool. */
export function subagentOf(toolName: string): string | null {
  return toolName.startsWith(prefix) ? toolName.slice(prefix.length) : null;
}

/** The child run of a call: the same id whoever starts it, so that a call makes one child however often it is tried. */
export function childRunId(runId: RunId, callId: string): RunId {
  return RunIdSchema.parse(derivedId('run', `${runId}/${callId}`));
}
