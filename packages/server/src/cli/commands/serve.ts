import { Option } from 'commander';
import type { ConfigInput } from '#apps/config';
import { type CliContext, loadConfig } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { handleInterrupts } from '../interrupt.ts';
import { optimizeWasmLater } from '../wasm-tiering.ts';
import { holdYoungGeneration } from '../young-generation.ts';
import { type Registrar, wholeNumber } from './command.ts';

export function serveCommand({ program, action }: Registrar): void {
  program
    .command('serve')
    .description('run the server until it is interrupted; SIGHUP reads agents and policies again')
    .addOption(
      new Option('--role <role>', 'what this process serves: all of it, or only the tools, over gRPC, for other processes')
        .choices(roles)
        .default('all'),
    )
    .option('--host <host>', 'address to bind (default 127.0.0.1)')
    .option('--port <port>', 'port (default 8080)', wholeNumber)
    .option('--data-dir <folder>', 'folder of the embedded database and session files')
    .option('--database-url <url>', 'Postgres instead of the embedded database')
    .option('--redis-url <url>', 'Redis for fan-out between processes')
    .addOption(new Option('--log-level <level>', 'what the log says').choices(logLevels))
    .action(action(serve));
}

const roles = ['all', 'agent-core'] as const;
const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;

interface ServeOptions {
  readonly role: (typeof roles)[number];
  readonly host?: string;
  readonly port?: number;
  readonly dataDir?: string;
  readonly databaseUrl?: string;
  readonly redisUrl?: string;
  readonly logLevel?: (typeof logLevels)[number];
}

/** `nexus serve`: until it is told to stop; then it drains. */
async function serve(context: CliContext, { logLevel, role, ...options }: ServeOptions): Promise<number> {
  optimizeWasmLater();
  const release = holdYoungGeneration();
  const flags: ConfigInput = { ...options, ...(logLevel === undefined ? {} : { log: { level: logLevel } }) };
  const config = await loadConfig(context, flags);
  const [{ startAllInOne, startAgentCore }, { environmentNotes }] = await Promise.all([context.io.loadApps(), import('#apps/config')]);
  const told = new AbortController();
  const stopped = new Promise<void>((resolve) => told.signal.addEventListener('abort', () => resolve()));
  let reload: () => Promise<void> = async () => undefined; // a start reads them by itself
  const stopHangups = context.io.onHangup((terminalIsGone) => void (terminalIsGone ? told.abort() : reload()));
  // From before the start: who is told to end while it starts may hold runs already.
  const interrupts = handleInterrupts(context.io, () => {
    // The log says that it drains; beside it, where no person types, this line would be the only one that is no JSON.
    if (context.io.stderr.isTty) context.note('draining; press Ctrl-C again to stop at once');
    told.abort();
  });
  try {
    const { signal } = told;
    const parts = { config, version: context.io.version, notes: environmentNotes(context.io.env), ownsProcess: true, signal };
    if (role === 'agent-core') {
      const core = await startAgentCore(parts);
      release();
      if (!signal.aborted)
        context.print(
          { address: core.address, metrics: `${core.watchUrl}/metrics` },
          () => `The agent core of Nexus Agent is ready at ${core.address}`,
        );
      await stopped;
      await core.close();
      return exitCodes.ok;
    }
    const app = await startAllInOne(parts);
    reload = () => app.reload();
    release();
    if (!signal.aborted) context.print({ url: app.url }, () => `Nexus Agent is ready at ${app.url}`);
    await stopped;
    await app.close();
  } catch (error) {
    if (!told.signal.aborted || error !== told.signal.reason) throw error;
  } finally {
    interrupts.stop();
    stopHangups();
  }
  return exitCodes.ok;
}
