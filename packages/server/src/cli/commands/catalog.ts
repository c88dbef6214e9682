import { AgentDefinition } from '@nexus-agent/protocol';
import { parse, stringify } from 'yaml';
import { explainIssues, summarise } from '#core';
import { type CliContext, parseJsonOption, withClient } from '../context.ts';
import { exitCodeOf, exitCodes, UsageError } from '../exit-codes.ts';
import { brief, clean, usd } from '../style.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';

export async function listAgents(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.agents.list(pageFlags(options)));
  printPage(context, page, ['NAME', 'VERSION', 'MODELS', 'SOURCE', 'DESCRIPTION'], (agent) => [
    agent.name,
    agent.version,
    agent.definition.models.join(' '),
    agent.source,
    brief(agent.definition.description, 60),
  ]);
}

export async function showAgent(context: CliContext, { version }: { version?: string }, name = ''): Promise<undefined> {
  const agent = await withClient(context, (client) => client.agents.get(name, version));
  context.print(
    agent,
    () => `${context.out('dim', `# ${agent.version}, ${agent.source}`)}\n${clean(stringify(agent.definition)).trimEnd()}`,
  );
}

export async function putAgent(context: CliContext, _options: object, path = ''): Promise<undefined> {
  const text = await context.io.readFile(path);
  if (text === null) throw new UsageError(`there is no file ${path}`);
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new UsageError(`${path} is not valid YAML: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : ''}`);
  }
  const definition = AgentDefinition.safeParse(value);
  if (!definition.success) throw new UsageError(`${path}: ${summarise(explainIssues(definition.error, AgentDefinition, value))}`);
  const agent = await withClient(context, (client) => client.agents.put(definition.data));
  context.print(agent, () => `${agent.name} ${agent.version}`);
}

export async function listTools(context: CliContext): Promise<undefined> {
  const page = await withClient(context, (client) => client.tools.list());
  printPage(context, page, ['NAME', 'EFFECTS', 'PERMISSIONS', 'DESCRIPTION'], (tool) => [
    tool.name,
    tool.effects,
    tool.permissions.join(' '),
    brief(tool.description, 70),
  ]);
}

export async function runTool(context: CliContext, options: { session: string; input: string }, name = ''): Promise<number> {
  const input = parseJsonOption(options.input, '--input');
  const result = await withClient(context, (client) => client.tools.execute(name, { sessionId: options.session, input }));
  context.print(result, () => clean(result.output));
  if (result.status === 'ok') return exitCodes.ok;
  const code = result.error?.code ?? 'tool_failed';
  context.note(`${context.err('red', 'error:')} ${brief(result.error?.message ?? 'the tool failed', 300)} (${code})`);
  return exitCodeOf(code);
}

export async function listModels(context: CliContext): Promise<undefined> {
  const page = await withClient(context, (client) => client.models.list());
  printPage(context, page, ['MODEL', 'CONTEXT', 'PER MILLION IN', 'OUT', ''], (model) => [
    model.id,
    String(model.contextTokens),
    model.price === undefined ? 'unknown' : usd(model.price.inputMicroUsdPerMillion),
    model.price === undefined ? '' : usd(model.price.outputMicroUsdPerMillion),
    model.simulator ? 'simulator' : '',
  ]);
}
