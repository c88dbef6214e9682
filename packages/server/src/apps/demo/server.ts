import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type ConfigInput, type NexusConfig, resolveConfig, tokenFolders } from '#apps/config';
import { NexusError, systemClock } from '#core';
import { type AllInOne, startAllInOne } from '../all-in-one.ts';

/** The folder `examples`: of the built package, or of the repository. */
export function findExamples(): string {
  const places = ['examples', '../../../../../examples'].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  const found = places.find((place) => existsSync(`${place}/workspace`));
  if (found === undefined) throw new NexusError('config_invalid', `the demo needs the examples; they are not in ${places.join(' nor ')}`);
  return found;
}

/** What the demo runs with: embedded, on loopback, with the examples, and with the simulator and no other model. */
export function demoConfig(base: NexusConfig, examples: string, dataDir: string): ConfigInput {
  return {
    host: '127.0.0.1',
    dataDir,
    ...(base.stateHome === undefined ? {} : { stateHome: base.stateHome }),
    agentsDir: `${examples}/agents`,
    policiesDir: `${examples}/policies`,
    workspaceSeed: `${examples}/workspace`,
    sim: { enabled: 'on' },
    log: { level: 'error' },
    otlp: base.otlp.endpoint === undefined ? {} : { endpoint: base.otlp.endpoint, headers: base.otlp.headers },
  };
}

/** Where the servers of the demo put the tokens of their operator. */
export function tokensOf(config: ConfigInput): string[] {
  return tokenFolders(resolveConfig({ env: {}, flags: config }));
}

export interface DemoServer {
  readonly url: string;
  readonly startedMs: number;
  /** Stops the server and starts it again on the same data and the same address. Gives how long it was away. */
  restart(): Promise<number>;
  close(): Promise<void>;
}

/** Starts the platform in this process, at the wanted port or, when that is taken, at a free one. */
export async function startDemoServer(config: ConfigInput, wantedPort: number, version: string): Promise<DemoServer> {
  const start = (port: number) => startAllInOne({ config: resolveConfig({ env: {}, flags: { ...config, port } }), version });
  const started = systemClock.monotonic();
  let app: AllInOne = await start((await isFree(wantedPort)) ? wantedPort : 0);
  const startedMs = systemClock.monotonic() - started;
  return {
    url: app.url,
    startedMs,
    async restart() {
      const left = systemClock.monotonic();
      await app.close();
      app = await start(app.port);
      return systemClock.monotonic() - left;
    },
    close: () => app.close(),
  };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
