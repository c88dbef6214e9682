import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNexusClient } from '@nexus-agent/sdk';
import type { NexusConfig } from '#apps/config';
import { systemClock } from '#core';
import { closingScene } from './closing-scene.ts';
import { crashScene } from './crash-scene.ts';
import type { Demo } from './demo.ts';
import { approvalScene, budgetScene, fallbackScene, sessionScene, startScene, taskScene } from './scenes.ts';
import { demoConfig, findExamples, startDemoServer, tokensOf } from './server.ts';
import { createStage, type StageOptions } from './stage.ts';
import { elapsed } from './words.ts';

export interface DemoOptions {
  /** Its port is used when it is free; its database and providers are not: the demo is embedded and simulated. */
  readonly config: NexusConfig;
  readonly version: string;
  readonly out: (text: string) => void;
  readonly style: StageOptions['style'];
  /** Stay up when all is shown, until `signal` aborts. */
  readonly interactive: boolean;
  /** Ends the demo in good order, at any time. */
  readonly signal: AbortSignal;
  /** Where the data goes, and stays. Default: a temporary folder that is removed. */
  readonly dataDir?: string;
  /** Leave the temporary folder. */
  readonly keep?: boolean;
}

/**
 * Shows the platform at work, through its API. Everything that is printed comes from there, and what the demo says of it is
 * checked: it rejects when something does not hold, and with the signal's reason when that cuts it short.
 */
export async function playDemo(options: DemoOptions): Promise<void> {
  const { dataDir, keep = false } = options;
  const folder = dataDir ?? (await mkdtemp(join(tmpdir(), 'nexus-demo-')));
  try {
    await show(options, folder);
  } finally {
    if (dataDir === undefined && !keep) await rm(folder, { recursive: true, force: true });
  }
}

async function show(options: DemoOptions, folder: string): Promise<void> {
  const { config: base, version, out, style, signal, interactive, dataDir, keep } = options;
  const startedMs = systemClock.monotonic();
  const stage = createStage({ out, style });
  const examples = findExamples();
  const config = demoConfig(base, examples, folder);
  stage.title('Nexus Agent: governed, durable agent runs');
  stage.heading('Start');
  const server = await startDemoServer(config, base.port, version);
  try {
    const demo: Demo = {
      stage,
      server,
      client: createNexusClient({ baseUrl: server.url, tokenFolders: tokensOf(config) }),
      config,
      version,
      examples,
      signal,
      runs: [],
    };
    await startScene(demo);
    stage.close();

    stage.heading('A session with its budget and its policy');
    const session = await sessionScene(demo);
    stage.close();

    const scenes: [string, () => Promise<void>][] = [
      ['A task in several steps, with tools in parallel', () => taskScene(demo, session.id)],
      ['An approval that outlives a restart', () => approvalScene(demo, session.id)],
      ['A budget that stops a run', () => budgetScene(demo)],
      ['A provider that fails', () => fallbackScene(demo)],
      ['A worker killed in the middle of a run', () => crashScene(demo)],
      ['What was spent, decided and traced', () => closingScene(demo)],
    ];
    for (const [title, scene] of scenes) {
      signal.throwIfAborted();
      stage.heading(title);
      await scene();
      stage.close();
    }
    out(
      `\n${style(['bold', 'green'], `All of it took ${elapsed(systemClock.monotonic() - startedMs)}.`)} Next: nexus serve, nexus chat, README.md\n`,
    );
    if (dataDir !== undefined || keep === true) out(`The data is in ${folder}\n`);
    if (!interactive) return;
    out(`\nThe server stays up at ${style('bold', server.url)}; Ctrl-C ends it.\nThe runs above: ${server.url}/v1/runs\n`);
    await aborted(signal);
    out('\n');
  } finally {
    await server.close();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
