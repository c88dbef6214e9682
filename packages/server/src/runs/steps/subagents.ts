import { type RunId, RunId as RunIdSchema } from '@nexus-agent/protocol';
import { derivedId, NexusError } from '#core';
import type { Tool } from '#tools';

const prefix = 'agent_';

/** The tool by which an agent calls another one. The engine starts a run for it; `execute` is never reached. */
export function subagentTool(name: string): Tool {
  return {
    name: `${prefix}${name}`,
    description: `Hand a task to the agent "${name}". It works on its own with the same files and gives back its answer.`,
    inputSchema: {
      type: 'object',
      properties: {
        task: { type: 'string', minLength: 1, description: 'What it is to do, with everything it needs to know' },
        maxCostMicroUsd: { type: 'integer', minimum: 1, description: 'Most that it may spend, in millionths of a US dollar' },
      },
      required: ['task'],
      additionalProperties: false,
    },
    effects: 'idempotent',
    permissions: ['agent.call'],
    timeoutMs: 86_400_000,
    async execute() {
      throw new NexusError('internal', 'a sub-agent call was executed as a plain tool');
    },
  };
}

/** The agent that a tool name calls, or null when it is a plain tool. */
export function subagentOf(toolName: string): string | null {
  return toolName.startsWith(prefix) ? toolName.slice(prefix.length) : null;
}

/** The child run of a call: the same id whoever starts it, so that a call makes one child however often it is tried. */
export function childRunId(runId: RunId, callId: string): RunId {
  return RunIdSchema.parse(derivedId('run', `${runId}/${callId}`));
}
