/**
 * The plan of the server: which modules there are, in which layer, and which rooms a module has inside. Data only;
 * `architecture.ts` holds the code against it.
 */
export interface Module {
  /** A module imports only modules of lower layers. */
  readonly layer: number;
  /** Modules of the same layer that it may import all the same, because the design puts them below it. */
  readonly knows?: readonly string[];
  /**
   * Folders with a door of their own (`#module/room`), in order: a room imports only rooms before it. The files that lie
   * in the module's folder itself come after all of them. Other modules see only the module's own door.
   *
   * Every module may have a room `config` without naming it here: the slice of the configuration that it owns. It comes
   * first and knows core only, so higher modules may import its door by itself.
   */
  readonly rooms?: readonly string[];
  /** Those of the rooms that load nothing else: every module above may import their doors by themselves, to start sooner. */
  readonly light?: readonly string[];
  /** Rooms that implement the module's contracts. Only composition roots know them; they may import the module's files. */
  readonly drivers?: readonly string[];
}

export const house: Readonly<Record<string, Module>> = {
  core: { layer: 0, rooms: ['http', 'visible'], light: ['http', 'visible'] },
  telemetry: { layer: 1 },
  ledger: { layer: 1 },
  storage: { layer: 1, knows: ['ledger'], rooms: ['contract', 'program', 'tables', 'commit'], drivers: ['drivers', 'blobs'] },
  bus: { layer: 1, drivers: ['drivers'] },
  identity: { layer: 2 },
  budget: { layer: 2 },
  policy: { layer: 2, rooms: ['compile', 'forms', 'engine'] },
  llm: {
    layer: 2,
    rooms: ['contract', 'tokens', 'pricing', 'routing', 'dialects', 'attempt', 'transport'],
    drivers: ['providers', 'sim'],
  },
  tools: {
    layer: 2,
    rooms: ['contract', 'catalogue', 'execution', 'net', 'workspace', 'files', 'sandbox', 'plugins'],
    drivers: ['sources', 'wire'],
  },
  calls: { layer: 3 },
  runs: { layer: 3, knows: ['calls'], rooms: ['journal', 'stream', 'steps', 'drive', 'dispatch', 'start'] },
  control: { layer: 3, knows: ['calls', 'runs'] },
  api: { layer: 4, rooms: ['contract', 'streams', 'mcp', 'openapi', 'routes', 'http'] },
  apps: { layer: 5 },
  cli: { layer: 6 },
  embed: { layer: 6 },
};
