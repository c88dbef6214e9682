import { type AgentDefinition, type ClientTool, reservedName, type TenantId } from '@nexus-agent/protocol';
import { explainFaults, findSchemaFaults, NexusError } from '#core';
import type { Engine } from '#runs/steps';
import { isOfDeclaredServer, selectTools } from '#tools';

/** Longest schemas and descriptions of all of them together, in characters: they are part of each prompt of the run. */
const maxChars = 64_000;

/**
 * Throws `invalid_request` for tools that the caller of a run is to execute and that could not be: two of one name, a name that the
 * agent or the server has already, a schema that is none. Which of them may be called is for policy to say, call by call.
 */
export async function checkClientTools(
  engine: Engine,
  tenantId: TenantId,
  definition: AgentDefinition,
  clientTools: readonly ClientTool[],
): Promise<void> {
  if (clientTools.length === 0) return;
  const taken = new Set((await engine.tools.list(tenantId)).map(({ name }) => name));
  // It may be of a worker or a process that is not there now.
  const ownPatterns = definition.tools.filter((pattern) => pattern !== '*');
  const faults: string[] = [];
  const placeOf = new Map<string, number>();
  for (const [index, { name, inputSchema, outputSchema }] of clientTools.entries()) {
    const place = `clientTools[${index}]`;
    const other = placeOf.get(name);
    const reserved = reservedName(name);
    placeOf.set(name, index);
    if (other !== undefined) faults.push(`${place} and clientTools[${other}] are both named ${name}; rename one`);
    else if (selectTools([{ name }], ownPatterns).length > 0 || isOfDeclaredServer(definition, name))
      faults.push(`${place}.name: the definition of the agent names ${name} as a tool of the server; take another name`);
    else if (taken.has(name)) faults.push(`${place}.name: there is a tool ${name} already; take another name`);
    else if (reserved !== null) faults.push(`${place}.name: ${reserved} than ${name}`);
    for (const [field, schema] of Object.entries({ inputSchema, outputSchema })) {
      const wrong = schema === undefined ? [] : findSchemaFaults(schema);
      if (wrong.length > 0) faults.push(`${place}.${field}: is no JSON Schema that is taken: ${explainFaults(wrong, field)}`);
    }
    if (inputSchema !== undefined && inputSchema.type !== 'object')
      faults.push(`${place}.inputSchema.type: expected "object", for arguments have names`);
  }
  const chars = JSON.stringify(clientTools).length;
  if (chars > maxChars) faults.push(`clientTools: expected at most ${maxChars} characters in all, got ${chars}; each prompt has them`);
  if (faults.length > 0) throw new NexusError('invalid_request', faults.slice(0, 10).join('; '));
}
