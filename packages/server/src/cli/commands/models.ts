import { type CliContext, withClient } from '../context.ts';
import { usd } from '../style.ts';
import type { Registrar } from './command.ts';
import { printPage } from './lists.ts';

export function modelCommands({ program, action }: Registrar): void {
  const model = program.command('models').description('models that providers serve');
  model.command('list', { isDefault: true }).description('list models').action(action(list));
}

async function list(context: CliContext): Promise<undefined> {
  const page = await withClient(context, (client) => client.models.list());
  printPage(context, page, ['MODEL', 'CONTEXT', 'PER MILLION IN', 'OUT', ''], (model) => [
    model.id,
    String(model.contextTokens),
    model.price === undefined ? 'unknown' : usd(model.price.inputMicroUsdPerMillion),
    model.price === undefined ? '' : usd(model.price.outputMicroUsdPerMillion),
    model.simulator ? 'simulator' : '',
  ]);
}
