import { type ConfigInput, redactConfig } from '#core';
import { type CliContext, loadConfig } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { handleInterrupts } from '../interrupt.ts';

interface ServeOptions {
  readonly host?: string;
  readonly port?: number;
  readonly dataDir?: string;
  readonly databaseUrl?: string;
  readonly redisUrl?: string;
  readonly logLevel?: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
}

/** `nexus serve`: until it is told to stop; then it drains. */
export async function serve(context: CliContext, { logLevel, ...options }: ServeOptions): Promise<number> {
  const flags: ConfigInput = { ...options, ...(logLevel === undefined ? {} : { log: { level: logLevel } }) };
  const config = await loadConfig(context, flags);
  const { startAllInOne } = await context.io.loadApps();
  const app = await startAllInOne({ config, version: context.io.version });
  let stop: () => void = () => undefined;
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const interrupts = handleInterrupts(context.io, () => {
    context.note('draining; press Ctrl-C again to stop at once');
    stop();
  });
  context.print({ url: app.url }, () => `Nexus Agent is ready at ${app.url}`);
  try {
    await stopped;
    await app.close();
  } finally {
    interrupts.stop();
  }
  return exitCodes.ok;
}

export async function migrate(context: CliContext): Promise<number> {
  const config = await loadConfig(context);
  const { migrateDatabase } = await context.io.loadApps();
  await migrateDatabase(config);
  context.print({ migrated: true }, () => 'the database has the schema of this version');
  return exitCodes.ok;
}

export async function printConfig(context: CliContext): Promise<number> {
  const shown = redactConfig(await loadConfig(context));
  const { stringify } = await import('yaml');
  context.print(shown, () => stringify(shown).trimEnd());
  return exitCodes.ok;
}

/** `nexus demo`: to its end, and on a terminal until it is told to stop. */
export async function demo(
  context: CliContext,
  { interactive, ...options }: { readonly interactive: boolean; readonly dataDir?: string; readonly keep?: boolean },
): Promise<number> {
  const config = await loadConfig(context);
  const { runDemo } = await context.io.loadApps();
  const { io } = context;
  const stop = new AbortController();
  const interrupts = handleInterrupts(io, () => stop.abort());
  try {
    await runDemo({
      ...options,
      interactive: interactive && io.stdout.isTty,
      config,
      version: io.version,
      out: (text) => io.stdout.write(text),
      style: context.out,
      signal: stop.signal,
    });
    return exitCodes.ok;
  } catch (error) {
    if (!interrupts.interrupted) throw error;
    context.note('the demo was interrupted');
    return exitCodes.interrupted;
  } finally {
    interrupts.stop();
  }
}
