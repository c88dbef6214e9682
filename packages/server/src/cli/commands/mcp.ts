import { type CliContext, withClient } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { handleInterrupts } from '../interrupt.ts';
import type { Registrar } from './command.ts';

export function mcpCommands({ program, action }: Registrar): void {
  const group = program.command('mcp').description('the Model Context Protocol');
  group
    .command('serve')
    .description('be an MCP server on standard input and output, for clients that start a process: tools and agents of the server')
    .option('--agent <name>', 'whose tools are offered (default: mcp.server.agent)')
    .option('--session <session>', 'run tools in this session')
    .action(action(serve));
}

/** `nexus mcp serve`: until its input ends. Nothing but messages of the protocol goes to standard output. */
async function serve(context: CliContext, query: { agent?: string; session?: string }): Promise<number> {
  const { pipeMcp } = await import('../mcp-pipe.ts');
  const told = new AbortController();
  const interrupts = handleInterrupts(context.io, () => told.abort());
  try {
    await withClient(
      context,
      (client) =>
        pipeMcp({
          input: context.io.stdin,
          // Bytes: they are for a program, and pass as they are.
          write: (line) => context.io.stdout.write(Buffer.from(`${line}\n`)),
          send: (request) => client.mcp.send({ ...request, query: { ...query } }),
          signal: told.signal,
        }),
      { autoEmbed: true },
    );
  } finally {
    interrupts.stop();
  }
  return exitCodes.ok;
}
