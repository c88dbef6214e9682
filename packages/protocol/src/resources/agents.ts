import { z } from 'zod';
import { BudgetLimits } from '../budget.ts';
import { PolicyShortForm } from '../policy.ts';
import { DeclaredMcpServers } from './mcp-servers.ts';
import { ModelRef, Name } from './names.ts';

/** What an agent is. A definition is immutable once stored; its version is the hash of its content. */
export const AgentDefinition = z
  .strictObject({
    name: Name,
    description: z.string().max(500).default(''),
    instructions: z.string().max(100_000).default(''),
    /**
     * Models in order of preference: the later ones are fallbacks before the first token. Those that are not served are passed over when
     * others are. `default` stands for what is configured: one model of each provider.
     */
    models: z.array(ModelRef).min(1).max(8).default(['default']),
    /** Tools that the agent is offered, by name or pattern. What may run is decided by policy. */
    tools: z.array(z.string().min(1).max(100)).max(100).default([]),
    /** Agents that it may call as tools `agent_<name>`. */
    subagents: z.array(Name).max(20).default([]),
    /**
     * MCP servers as other clients write them. Each is the tenant's server of its name, which is added where there is none; the agent is offered its
     * tools, of which `tools` may name some.
     */
    mcpServers: DeclaredMcpServers.optional(),
    policy: PolicyShortForm.optional(),
    budget: BudgetLimits.optional(),
    maxSteps: z.int().min(1).max(1000).default(25),
    maxParallelTools: z.int().min(1).max(32).default(8),
    maxOutputTokens: z.int().min(1).max(200_000).default(4096),
    temperature: z.number().min(0).max(2).optional(),
    timeoutMs: z.int().min(100).max(86_400_000).default(600_000),
    approvalTimeoutMs: z.int().min(1000).max(2_592_000_000).default(86_400_000),
    /** JSON Schema of the final answer; the run fails with `output_invalid` when the answer does not fit. */
    outputSchema: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'AgentDefinition' });
export type AgentDefinition = z.infer<typeof AgentDefinition>;

/**
 * What a declared server is to its tenant: as an MCP server is; `absent`, there is none of its name; `differs`, it is another than the agent
 * declares, and not offered to it; `disabled`, the definition says so.
 */
const AgentMcpServer = z
  .object({
    name: z.string(),
    state: z.enum(['ready', 'unapproved', 'changed', 'absent', 'differs', 'disabled']),
    tools: z.int().describe('How many of its tools there are for the agent to be offered'),
  })
  .meta({ id: 'AgentMcpServer' });
export type AgentMcpServer = z.infer<typeof AgentMcpServer>;

export const Agent = z
  .object({
    name: z.string(),
    version: z.string(),
    createdAt: z.string(),
    source: z.enum(['file', 'api', 'built-in']),
    definition: AgentDefinition,
    /** Of the servers that the definition declares, in the names that their tools have. */
    mcpServers: z.array(AgentMcpServer).optional(),
    /** Names in the definition that nothing has yet, as sentences; only in the answer to its being stored. */
    warnings: z.array(z.string()).optional(),
  })
  .meta({ id: 'Agent' });
export type Agent = z.infer<typeof Agent>;
