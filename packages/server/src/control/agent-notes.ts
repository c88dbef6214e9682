import type { AgentDefinition } from '@nexus-agent/protocol';
import { originOf } from '#calls';
import { closest, findMisspeltKeywords, matchesWildcard, NexusError } from '#core';
import type { ModelService } from '#llm';
import type { Mentions, PolicyEngine } from '#policy';
import type { AgentVersionRow } from '#storage';
import { isOfDeclaredServer, readDeclaredServers, selectTools, type ToolDescriptor } from '#tools';

/** What there is on this node; another may have more. */
export interface KnownNames {
  readonly tools: readonly string[];
  readonly agents: readonly string[];
}

/**
 * Names in a definition that nothing here has, each with its place and the nearest name. Notes and no faults: the tool, agent or model may
 * come later or be of another node. A misspelt one, though, would be missed only by the first run that needs it.
 */
export function notesOnAgent(definition: AgentDefinition, known: KnownNames): string[] {
  const notes: string[] = [];
  for (const note of namesOf(definition, known)) {
    if (note === null) continue;
    if (notes.length >= maxNotes) return [...notes, 'there are more names that nothing here has'];
    notes.push(note);
  }
  return notes;
}

/** Of the tools that a pattern matches. */
const maxAsked = 200;
/** More are not told: each is compared with everything that is known. */
const maxNotes = 50;

function* namesOf(definition: AgentDefinition, known: KnownNames): Generator<string | null> {
  const callable = [...known.tools, ...definition.subagents.map((name) => `agent_${name}`)];
  const models = definition.models.flatMap((ref) => [ref, ref.slice(ref.indexOf('/') + 1)]);
  // Those of an MCP server may not be there yet, which is told of the server.
  const isOfServer = (name: string) => isOfDeclaredServer(definition, name);
  for (const [index, pattern] of definition.tools.entries())
    if (!isOfServer(pattern)) yield missing(`tools[${index}]`, 'tool', pattern, known.tools);
  for (const [index, name] of definition.subagents.entries()) yield missing(`subagents[${index}]`, 'agent', name, known.agents);
  for (const { place, isDisabled, definition: server } of readDeclaredServers(definition.mcpServers).servers) {
    const agent = isDisabled ? undefined : server.sampling?.agent;
    if (agent !== undefined && !definition.subagents.includes(agent))
      yield `${place}.sampling: nobody answers, as the agent "${agent}" is none of the subagents`;
  }
  for (const list of ['allow', 'approve', 'deny'] as const) {
    for (const [index, entry] of (definition.policy?.[list] ?? []).entries()) {
      const place = `policy.${list}[${index}]`;
      if (/^(net|secret):/.test(entry) || isOfServer(entry.replace(/^tool:/, ''))) continue;
      if (!entry.startsWith('model:')) yield missing(place, 'tool', entry.replace(/^tool:/, ''), callable, ', and a client may bring it');
      else if (!definition.models.includes('default')) yield missing(place, 'model of this agent', entry.slice('model:'.length), models);
    }
  }
  for (const { path, nearest } of findMisspeltKeywords(definition.outputSchema ?? true))
    yield `outputSchema.${path} is no keyword of JSON Schema and checks nothing; did you mean ${JSON.stringify(nearest)}?`;
}

/** Who would call, and by which policies. */
export type OfAgent = Pick<AgentVersionRow, 'name' | 'tenantId' | 'version' | 'source' | 'definition'>;

/**
 * Tools that an agent is offered and that nothing permits it, whatever the call: a model would call them in vain. Of a pattern only where that is so of all
 * that it matches, for a policy may well choose among them.
 */
export function notesOnGrants(agent: OfAgent, tools: readonly ToolDescriptor[], policy: Pick<PolicyEngine, 'allowsNothing'>): string[] {
  const { definition } = agent;
  const isVain = ({ name, effects, permissions }: Pick<ToolDescriptor, 'name' | 'effects' | 'permissions'>) =>
    policy.allowsNothing({
      principal: { type: 'Agent', id: agent.name, tenant: agent.tenantId, origin: originOf(agent), version: agent.version },
      action: 'tool.execute',
      resource: { type: 'Tool', id: name, attributes: { effects, permissions: [...permissions] } },
      context: {},
      ...(definition.policy === undefined ? {} : { agentPolicy: definition.policy }),
    });
  const notes = definition.tools.flatMap((pattern, index) => {
    const all = selectTools(tools, [pattern]);
    const matched = all.slice(0, maxAsked);
    if (matched.length === 0 || !matched.every(isVain)) return [];
    const what =
      matched.length === 1
        ? (matched[0]?.name ?? pattern)
        : `${all.length > maxAsked ? `the first ${maxAsked} of ` : ''}the ${all.length} tools of ${pattern}`;
    const line = `allow: [${JSON.stringify(pattern)}]`;
    return [
      `tools[${index}]: no policy ever permits ${what} to this agent: each call will be denied; say ${line} in its policy, or leave it out of tools`,
    ];
  });
  return notes.length > maxNotes ? [...notes.slice(0, maxNotes), 'there are more tools that no policy permits'] : notes;
}

/** Models of a definition that no provider serves, each with its place and the nearest name. Waits for the lists of the providers. */
export async function notesOnModels(definition: AgentDefinition, llm: Pick<ModelService, 'resolve' | 'list'>): Promise<string[]> {
  const notServed = await Promise.all(
    definition.models.map((ref) =>
      llm.resolve([ref]).then(
        () => false,
        (error: unknown) => error instanceof NexusError && error.code === 'model_not_found',
      ),
    ),
  );
  if (!notServed.includes(true)) return [];
  const names = (await llm.list()).map(({ provider, model }) => `${provider}/${model}`);
  return definition.models
    .map((ref, index) => (notServed[index] === true ? missing(`models[${index}]`, 'model', ref, names) : null))
    .filter((note) => note !== null);
}

/** The same of the tools that policies name, by the ids of the policies: a forbid of a misspelt one never applies. */
export function notesOnPolicies(named: ReadonlyMap<string, readonly string[]>, { tools }: Pick<KnownNames, 'tools'>): string[] {
  return [...named]
    .flatMap(([policy, names]) => names.filter((name) => !name.startsWith('agent_')).map((name) => missing(policy, 'tool', name, tools)))
    .filter((note) => note !== null);
}

/** The same of tenants and arguments, and what policies read that is never there. */
export async function notesOnMentions(
  mentions: ReadonlyMap<string, Mentions>,
  { tools, isTenant }: { readonly tools: readonly ToolDescriptor[]; readonly isTenant: (name: string) => Promise<boolean> },
): Promise<string[]> {
  const notes: string[] = [];
  for (const [policy, mentioned] of mentions) {
    if (policy.startsWith('default:')) continue;
    notes.push(...mentioned.notes.map((note) => `${policy}: ${note}`));
    for (const tenant of mentioned.tenants)
      if (!(await isTenant(tenant))) notes.push(`${policy}: there is no tenant "${tenant}": no key was made for it`);
    const named = mentioned.tools.length === 0 ? tools : tools.filter(({ name }) => mentioned.tools.includes(name));
    const taken = named.flatMap((tool) => argumentsOf(tool));
    if (named.length === 0 || taken.includes(anyArgument)) continue;
    const unknown = mentioned.arguments.filter((name) => !taken.includes(name));
    notes.push(
      ...unknown.map(
        (name) => `${policy}: no tool that it speaks of takes an argument "${name}"; they take ${[...new Set(taken)].join(', ')}`,
      ),
    );
  }
  return notes;
}

const anyArgument = '*';

function argumentsOf({ inputSchema }: ToolDescriptor): readonly string[] {
  const { properties, additionalProperties } = inputSchema as { properties?: object; additionalProperties?: unknown }; // a JSON Schema may have anything there
  return [...Object.keys(properties ?? {}), ...(additionalProperties === false ? [] : [anyArgument])];
}

/** @param otherwise how it may be right all the same; said where no known name is near */
function missing(place: string, what: string, pattern: string, names: readonly string[], otherwise = ''): string | null {
  if (names.some((name) => matchesWildcard(pattern, name))) return null;
  const near = closest(pattern, names);
  const help = near === null ? `known are ${names.slice(0, 20).join(', ') || 'none'}${otherwise}` : `did you mean "${near}"?`;
  return pattern.includes('*')
    ? `${place}: "${pattern}" matches no ${what} that there is; ${help}`
    : `${place}: there is no ${what} "${pattern}"; ${help}`;
}
