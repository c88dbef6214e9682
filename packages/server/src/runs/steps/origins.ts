import { originOf } from '#calls';
import { type AgentOrigin, operatorTenant } from '#policy';
import type { AgentVersionRow } from '#storage';

/** Whose word the agents are that an agent may call, by name. One that is not there is nobody's. */
export type Origins = ReadonlyMap<string, AgentOrigin>;

/** In the operator's own tenant all agents are the operator's. */
export async function originsOf(
  agents: { get(tenantId: AgentVersionRow['tenantId'], name: string): Promise<AgentVersionRow> },
  { tenantId, definition }: Pick<AgentVersionRow, 'tenantId' | 'definition'>,
): Promise<Origins> {
  if (tenantId === operatorTenant) return new Map();
  const found = definition.subagents.map(async (name) => {
    const row = await agents.get(tenantId, name).catch(() => null);
    return [name, row === null ? 'tenant' : originOf(row)] as const;
  });
  return new Map(await Promise.all(found));
}
