/** The door of the composition roots. */
import type { OpenApiImport, OpenApiImportOptions } from '#tools/sources';
import type { DemoOptions } from './demo/run-demo.ts';
import type { PluginTrial, PluginTrialOptions } from './plugin-programs.ts';

export type { OpenApiImport } from '#tools/sources';
export { type AgentCore, type AgentCoreOptions, startAgentCore } from './agent-core.ts';
export { type AllInOne, type AllInOneOptions, migrateStore, startAllInOne } from './all-in-one.ts';
export { checkSetup, type SetupCheck } from './check-setup.ts';

/** See {@link import('./demo/run-demo.ts').playDemo}; loaded when it is asked for, as a server never does. */
export async function runDemo(options: DemoOptions): Promise<void> {
  const demo = await import('./demo/run-demo.ts');
  return demo.playDemo(options);
}

/** A definition of HTTP tools from an OpenAPI document; loaded when it is asked for. */
export async function importApi(text: string, options: OpenApiImportOptions): Promise<OpenApiImport> {
  const sources = await import('#tools/sources');
  return sources.importOpenApi(text, options);
}

/** What runs a plugin that is a program for its author; loaded when it is asked for. */
export async function openPluginTrial(options: PluginTrialOptions): Promise<PluginTrial> {
  const programs = await import('./plugin-programs.ts');
  return programs.openTrial(options);
}

/** Simulations of clusters; loaded when they are asked for. */
export const loadSimulation = () => import('./simulation/campaign.ts');
