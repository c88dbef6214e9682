import type { EffectsClass, McpServerDefinition, McpServerTool } from '@nexus-agent/protocol';
import { cutText, explainFaults, findSchemaFaults, matchesWildcard } from '#core';
import type { KeptServer } from './content.ts';
import { offeredName } from './names.ts';
import { paramHeaderFault } from './param-headers.ts';
import type { ListedTool } from './pins.ts';

const maxDescriptionChars = 20_000;
const maxSchemaChars = 100_000;
const maxShownChars = 300;

/** A tool that agents are offered. */
export interface TakenTool {
  readonly name: string;
  readonly effects: EffectsClass;
  readonly listed: ListedTool;
}

export interface Judged {
  /** What becomes of each tool, in the order of their names. */
  readonly tools: readonly McpServerTool[];
  readonly taken: readonly TakenTool[];
}

/** What of an approved server agents are offered: what is still as it was approved, is wanted, and can be taken. */
export function judgeTools({
  name: server,
  definition,
  pins,
  pending,
}: Pick<KeptServer, 'name' | 'definition' | 'pins' | 'pending'>): Judged {
  const differing = new Map(pending.map(({ tool, state }) => [tool, state]));
  const known = new Set<string>();
  const tools: McpServerTool[] = [];
  const taken: TakenTool[] = [];
  for (const listed of [...(pins ?? [])].sort(byName)) {
    const { name: tool, description = '' } = listed;
    const name = offeredName(server, tool);
    const effects = effectsOfTaken(listed, definition);
    const about = { tool, name, effects, description: cutText(description, maxShownChars) };
    const difference = differing.get(tool);
    const why = known.has(tool) ? 'the server lists it twice' : reasonAgainst(listed);
    known.add(tool);
    if (why !== null) tools.push({ ...about, state: 'refused', why });
    else if (!isWanted(tool, definition)) tools.push({ ...about, state: 'denied' });
    else if (difference !== undefined) tools.push({ ...about, state: difference });
    else {
      tools.push({ ...about, state: 'ready' });
      taken.push({ name, effects, listed });
    }
  }
  for (const { tool, state } of pending) {
    if (state === 'new' && !known.has(tool))
      tools.push({ tool: cutText(tool, maxShownChars), name: offeredName(server, tool), effects: 'once', description: '', state });
  }
  return { tools, taken };
}

function isWanted(tool: string, { allow, deny }: McpServerDefinition): boolean {
  const fits = (pattern: string) => matchesWildcard(pattern, tool);
  return allow.some(fits) && !deny.some(fits);
}

/** What the operator says counts; what the server hints at only where it is trusted. */
function effectsOfTaken({ name, annotations }: ListedTool, { effects, trustHints }: McpServerDefinition): EffectsClass {
  const said = Object.hasOwn(effects, name) ? effects[name] : undefined;
  if (said !== undefined) return said;
  if (!trustHints) return 'once';
  if (annotations?.readOnlyHint === true) return 'none';
  return annotations?.idempotentHint === true ? 'idempotent' : 'once';
}

function reasonAgainst({ name, description = '', inputSchema }: ListedTool): string | null {
  if (name.length > 200) return 'its name is longer than 200 characters';
  if (description.length > maxDescriptionChars) return `its description is longer than ${maxDescriptionChars} characters`;
  if (JSON.stringify(inputSchema).length > maxSchemaChars) return `the schema of its arguments is longer than ${maxSchemaChars} characters`;
  if (inputSchema.type !== 'object') return 'the schema of its arguments is not that of an object';
  const faults = findSchemaFaults(inputSchema);
  if (faults.length === 0) return paramHeaderFault(inputSchema);
  return cutText(`the schema of its arguments cannot be taken: ${explainFaults(faults, '')}`, 500);
}

function byName({ name: one }: ListedTool, { name: other }: ListedTool): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
