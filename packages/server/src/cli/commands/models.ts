import { type CliContext, withClient } from '../context.ts';
import { usd } from '../style.ts';
import type { Registrar } from './command.ts';
import { printPage } from './lists.ts';

export function modelCommands({ program, action }: Registrar): void {
  const model = program.command('models').description('models that providers serve');
  model.command('list', { isDefault: true }).description('list models').action(action(list));
}

async function list(context: CliContext): Promise<undefined> {
  const { page, agents } = await withClient(context, async (client) => ({
    page: await client.models.list(),
    // A key may be allowed to see the models and not the agents.
    agents: await client.agents.list({ limit: 100 }).catch(() => ({ data: [] })),
  }));
  printPage(context, page, ['MODEL', 'CONTEXT', 'PER MILLION IN', 'OUT', ''], (model) => [
    model.id,
    String(model.contextTokens),
    model.price === undefined ? 'unknown' : usd(model.price.inputMicroUsdPerMillion),
    model.price === undefined ? '' : usd(model.price.outputMicroUsdPerMillion),
    model.simulator ? 'simulator' : '',
  ]);
  const listed = new Set(page.data.flatMap(({ id }) => [id, id.replace(/:latest$/, '')]));
  for (const { name, definition } of agents.data) {
    const others = definition.models.filter((ref) => ref !== 'default' && ref.includes('/') && !listed.has(ref.replace(/\?.*$/s, '')));
    if (others.length > 0)
      context.note(context.err('dim', `not listed, and passed over where it is not served: ${others.join(', ')} (agent ${name})`));
  }
}
