import { type CliContext, parseJsonOption, withClient } from '../context.ts';
import { exitCodeOf, exitCodes, UsageError } from '../exit-codes.ts';
import { brief } from '../style.ts';
import { type Registrar, withPages } from './command.ts';
import { type PageFlags, pageFlags, printPage } from './lists.ts';
import { toolImportCommand } from './tool-import.ts';
import { toolSourceCommands } from './tool-sources.ts';

export function toolCommands({ program, action }: Registrar): void {
  const tool = program.command('tools').description('tools');
  tool.command('list', { isDefault: true }).description('list tools').action(action(list));
  tool.command('workers').description('list the workers that are connected').action(action(listWorkers));
  const pools = tool.command('pools').description('pools of workers, and the tools that they serve');
  withPages(pools.command('list', { isDefault: true }).description('list pools')).action(action(listPools));
  pools.command('remove').description('take the tools of a pool away').argument('<pool>').action(action(removePool));
  tool
    .command('run')
    .description('run a tool as an agent would: under the policy and budget of a session')
    .argument('<tool>')
    .option('--session <session>', 'the session; or give --agent')
    .option('--agent <agent>', 'an agent, in a session that is made for this call and closed after it')
    .option('--input <json>', 'arguments', '{}')
    .action(action(execute));
  toolSourceCommands(tool, action);
  toolImportCommand(tool, action);
}

async function list(context: CliContext): Promise<undefined> {
  const page = await withClient(context, (client) => client.tools.list());
  printPage(context, page, ['NAME', 'SOURCE', 'EFFECTS', 'PERMISSIONS', 'DESCRIPTION'], (tool) => [
    tool.name,
    tool.source,
    tool.effects,
    tool.permissions.join(' '),
    brief(tool.description, 60),
  ]);
}

interface RunFlags {
  readonly session?: string;
  readonly agent?: string;
  readonly input: string;
}

async function execute(context: CliContext, { session, agent, input: json }: RunFlags, name = ''): Promise<number> {
  const input = parseJsonOption(json, '--input');
  if ((session === undefined) === (agent === undefined))
    throw new UsageError('say either --agent, whose tools and policy count, or --session, for one that there is');
  const result = await withClient(context, async (client) => {
    if (agent === undefined) return client.tools.execute(name, { sessionId: session ?? '', input });
    const { id } = await client.sessions.create({ agent });
    try {
      return await client.tools.execute(name, { sessionId: id, input });
    } finally {
      await client.sessions.close(id);
      context.note(`ran in session ${id}, which is closed and keeps what the tool wrote`);
    }
  });
  context.print(result, () => result.output);
  if (result.status === 'ok') return exitCodes.ok;
  const code = result.error?.code ?? 'tool_failed';
  context.note(`${context.err('red', 'error:')} ${brief(result.error?.message ?? 'the tool failed', 300)} (${code})`);
  return exitCodeOf(code);
}

async function listWorkers(context: CliContext): Promise<undefined> {
  const page = await withClient(context, (client) => client.toolWorkers.list());
  printPage(context, page, ['WORKER', 'POOL', 'CALLS', 'CONNECTED', 'TOOLS'], (worker) => [
    worker.workerId,
    worker.pool,
    `${worker.maxConcurrent} at a time`,
    worker.connectedAt,
    `${brief(worker.tools.join(' '), 60)}${worker.current ? '' : ' (the pool has others by now)'}`,
  ]);
}

async function listPools(context: CliContext, options: PageFlags): Promise<undefined> {
  const page = await withClient(context, (client) => client.toolWorkers.pools(pageFlags(options)));
  printPage(context, page, ['POOL', 'WORKERS', 'WAITS', 'TOOLS'], (pool) => [
    pool.name,
    String(pool.workers),
    `${pool.waitMs} ms`,
    brief(pool.tools.join(' '), 60),
  ]);
}

async function removePool(context: CliContext, _options: object, pool = ''): Promise<undefined> {
  await withClient(context, (client) => client.toolWorkers.removePool(pool));
  context.print({ removed: pool }, () => `the tools of pool ${pool} are gone`);
}
