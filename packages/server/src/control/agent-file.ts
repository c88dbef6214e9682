import { AgentDefinition, type BudgetUnit } from '@nexus-agent/protocol';
import { explainIssues, isObject, limitOf, limitUnits, NexusError, summarise } from '#core';
import { type DeclaredServers, readDeclaredServers } from '#tools';

/** The agent of a YAML or JSON file, amounts of whose budget may have their units. Throws `config_invalid` that names the file. */
export async function parseAgentFile(path: string, text: string): Promise<AgentDefinition> {
  const { parse } = await import('yaml');
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0]?.replace(/:$/, '') : 'unreadable';
    throw new NexusError('config_invalid', `${path} is not valid YAML: ${why}`, { cause: error });
  }
  let value: unknown;
  try {
    value = withPlainAmounts(raw);
  } catch (error) {
    throw new NexusError('config_invalid', `${path}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
  const result = AgentDefinition.safeParse(value);
  if (!result.success) {
    const issues = explainIssues(result.error, AgentDefinition, value, { secret: (place) => mayBeSecret.test(place) });
    throw new NexusError('config_invalid', `${path}: ${summarise(issues)}`);
  }
  try {
    readDeclaredServers(result.data.mcpServers);
  } catch (error) {
    throw new NexusError('config_invalid', `${path}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
  return result.data;
}

const mayBeSecret = /^mcpServers\..*\b(env|headers)\b/;

/**
 * The MCP servers of a file of the form `{ "mcpServers": { … } }` as other clients have it, or of an agent's, in JSON or YAML. Throws
 * `invalid_request` that says which of them cannot be taken.
 */
export async function parseMcpServers(text: string): Promise<DeclaredServers> {
  const { parse } = await import('yaml');
  let file: unknown;
  try {
    file = parse(text);
  } catch (error) {
    throw new NexusError('invalid_request', 'the file is neither JSON nor YAML', { cause: error });
  }
  if (!isObject(file) || !isObject(file.mcpServers))
    throw new NexusError('invalid_request', 'the file has no "mcpServers": expected { "mcpServers": { "name": { "command": … } } }');
  return readDeclaredServers(file.mcpServers);
}

/** As people write them, `{ usd: 0.50, tokens: 200k, wallMs: 10m }`, in the units of the ledger. What it does not know stays for the schema. */
function withPlainAmounts(raw: unknown): unknown {
  if (!isObject(raw) || !isObject(raw.budget)) return raw;
  const budget = new Map<string, unknown>();
  const put = (key: BudgetUnit | string, amount: unknown) => {
    if (budget.has(key)) throw new Error(`budget: usd and ${key} are the same limit; give one of them`);
    budget.set(key, amount);
  };
  for (const [key, written] of Object.entries(raw.budget)) {
    const unit = limitUnits.find((each) => each === key);
    const isAmount = typeof written === 'string' || (unit === 'usd' && typeof written === 'number');
    if (unit === undefined || !isAmount) {
      put(key, written);
      continue;
    }
    try {
      const { unit: stored, limit } = limitOf(String(written), unit);
      put(stored, limit);
    } catch (error) {
      throw error instanceof NexusError ? new Error(`budget.${key}: ${error.message}`, { cause: error }) : error;
    }
  }
  return { ...raw, budget: Object.fromEntries(budget) };
}
