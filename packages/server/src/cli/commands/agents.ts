import type { AgentMcpServer } from '@nexus-agent/protocol';
import { type CliContext, noSuchFile, ofFile, withClient } from '../context.ts';
import { brief } from '../style.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export function agentCommands({ program, action }: Registrar): void {
  const agent = program.command('agents').description('agent definitions');
  withPages(agent.command('list', { isDefault: true }).description('list agents')).action(action(list));
  agent
    .command('show')
    .description('show a definition')
    .argument('<agent>')
    .option('--version <version>', 'an older version')
    .action(action(show));
  agent.command('delete').description('delete an agent that was stored').argument('<agent>').action(action(remove));
  agent.command('put').description('store a definition from a YAML or JSON file').argument('<file>').action(action(put));
}

async function list(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.agents.list(pageFlags(options)));
  printPage(context, page, ['NAME', 'VERSION', 'MODELS', 'SOURCE', 'MCP', 'DESCRIPTION'], (agent) => [
    agent.name,
    agent.version,
    brief(agent.definition.models.join(' '), 40),
    agent.source,
    brief((agent.mcpServers ?? []).map(({ name, state, tools }) => `${name}:${state === 'ready' ? tools : state}`).join(' '), 40),
    brief(agent.definition.description, 60),
  ]);
}

async function show(context: CliContext, { version }: { version?: string }, name = ''): Promise<undefined> {
  const agent = await withClient(context, (client) => client.agents.get(name, version));
  const { stringify } = await import('yaml');
  context.print(agent, () => `${context.out('dim', `# ${agent.version}, ${agent.source}`)}\n${stringify(agent.definition).trimEnd()}`);
  for (const server of agent.mcpServers ?? []) context.note(`MCP server ${server.name}: ${stateOfServer(server)}`);
}

function stateOfServer({ name, state, tools }: AgentMcpServer): string {
  if (state === 'ready') return `ready, ${tools} tools`;
  if (state === 'changed') return `${tools} tools; it lists others than were approved: nexus mcp inspect ${name}`;
  if (state === 'unapproved') return `no tools until a person approves them: nexus mcp approve ${name}`;
  if (state === 'absent') return 'there is none of this name: nexus mcp add, or nexus mcp import with the file of the agent';
  if (state === 'differs') return `not offered, as ${name} is another server than the agent declares: nexus mcp inspect ${name}`;
  return 'disabled';
}

async function remove(context: CliContext, _options: object, name = ''): Promise<undefined> {
  await withClient(context, (client) => client.agents.delete(name));
  context.print({ name }, () => `${name} is deleted`);
}

async function put(context: CliContext, _options: object, path = ''): Promise<undefined> {
  const text = await context.io.readFile(path);
  if (text === null) throw await noSuchFile(context.io, path, 'file');
  const { parseAgentFile } = await import('#control');
  const definition = await parseAgentFile(path, text);
  const agent = await ofFile(path, () => withClient(context, (client) => client.agents.put(definition)));
  context.print(agent, () => `${agent.name} ${agent.version}`);
  for (const warning of agent.warnings ?? []) context.note(`warning: ${warning}`);
}
