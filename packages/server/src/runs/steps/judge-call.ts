import type { AgentDefinition, ClientTool, ErrorInfo } from '@nexus-agent/protocol';
import { type Actor, decideForAgent, decideTool, type RecordedDecision } from '#calls';
import { checkArguments, offeredTools, type ToolDescriptor } from '#tools';
import { clientTool } from './client-calls.ts';
import type { Engine } from './engine.ts';
import type { Origins } from './origins.ts';
import { subagentOf, subagentTool } from './subagents.ts';

export interface CallToJudge {
  readonly callId: string;
  readonly step: number;
  readonly tool: ToolDescriptor;
  readonly rawInput: unknown;
  readonly approved: { readonly by: string; readonly role?: string } | null;
}

export type JudgedCall =
  | { readonly type: 'unfit'; readonly error: ErrorInfo }
  /** `denial` is what was denied: the call itself, or the run of the agent that it calls. */
  | { readonly type: 'denied'; readonly decision: RecordedDecision; readonly denial: RecordedDecision }
  | { readonly type: 'to_be_approved'; readonly decision: RecordedDecision; readonly input: Record<string, unknown> }
  | {
      readonly type: 'allowed';
      readonly decision: RecordedDecision;
      readonly input: Record<string, unknown>;
      /** The agent that it calls. */
      readonly child: string | null;
      readonly childDecision: RecordedDecision | null;
    };

/** Holds a call against the schema of its tool and asks policy, with the very arguments that will run. Writes nothing. */
export function judgeCall(
  engine: Engine,
  { agent, charge, origins }: { readonly agent: Pick<AgentDefinition, 'subagents'>; readonly charge: Actor; readonly origins: Origins },
  { callId, step, tool, rawInput, approved }: CallToJudge,
): JudgedCall {
  const checked = checkArguments(engine.schemas, tool, rawInput);
  if (checked.type === 'error') return { type: 'unfit', error: checked.error };
  const { input } = checked;
  const decision = decideTool(engine, charge, callId, tool, { arguments: input, step, ...(approved === null ? {} : { approved }) });
  if (decision.record.effect === 'deny') return { type: 'denied', decision, denial: decision };
  if (decision.record.effect === 'require_approval') return { type: 'to_be_approved', decision, input };
  const child = tool.kind === undefined ? subagentOf(tool.name) : null;
  if (child === null) return { type: 'allowed', decision, input, child, childDecision: null };
  const childDecision = decideForAgent(engine, charge, callId, {
    action: 'run.start',
    resource: {
      type: 'Agent',
      id: child,
      attributes: { declared: agent.subagents.includes(child), origin: origins.get(child) ?? 'operator' },
    },
    context: {},
  });
  if (childDecision.record.effect !== 'allow') return { type: 'denied', decision, denial: childDecision };
  return { type: 'allowed', decision, input, child, childDecision };
}

/** What an agent at this depth is offered. A name that one of its own and one of the client's have, as the server got it later, is nobody's:
 * what was approved of one would be done by the other. */
export function toolsOf(
  { subagents, ...definition }: Pick<AgentDefinition, 'tools' | 'mcpServers' | 'subagents'>,
  known: readonly ToolDescriptor[],
  {
    depth,
    maxDepth,
    clientTools = [],
  }: { readonly depth: number; readonly maxDepth: number; readonly clientTools?: readonly ClientTool[] | undefined },
): readonly ToolDescriptor[] {
  const own = [...offeredTools(known, definition), ...(depth < maxDepth ? subagents.map(subagentTool) : [])];
  if (clientTools.length === 0) return own;
  const [names, others] = [new Set(own.map(({ name }) => name)), new Set(clientTools.map(({ name }) => name))];
  return [...own.filter(({ name }) => !others.has(name)), ...clientTools.filter(({ name }) => !names.has(name)).map(clientTool)];
}
