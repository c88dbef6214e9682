/** The steps of `npm run verify`, in their order: cheap ones first. Data only. */
export interface Step {
  readonly name: string;
  readonly shows: string;
  readonly command: readonly string[];
  readonly fix?: string;
}

/** Each command is a script or a tool's entry point that runs with this Node, from the root of the repository. */
export const steps: readonly Step[] = [
  {
    name: 'format',
    shows: 'every file is formatted',
    command: ['node_modules/@biomejs/biome/bin/biome', 'format', '--max-diagnostics=20'],
    fix: 'npm run fix',
  },
  {
    name: 'lint',
    shows: 'no known mistake, no any, no console',
    command: ['node_modules/@biomejs/biome/bin/biome', 'lint', '--error-on-warnings', '--max-diagnostics=50'],
    fix: 'npm run fix, then what it leaves',
  },
  { name: 'types', shows: 'everything compiles, strictly', command: ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'] },
  {
    name: 'architecture',
    shows: 'layers, rooms, doors, drivers, package dependencies, cycles',
    command: ['scripts/checks/architecture.ts'],
  },
  {
    name: 'dead-code',
    shows: 'no unused file, export or dependency',
    // These configurations say which source a built file is of; without them whatever was built hides the use of its source.
    command: ['node_modules/knip/bin/knip.js', '--no-progress', '--tsConfig', 'tsconfig.build.json'],
  },
  {
    name: 'test-only',
    shows: 'no production code that only tests use',
    // Types are left out: a door may name a part of its contract that so far only a test writes down.
    command: ['node_modules/knip/bin/knip.js', '--no-progress', '--tsConfig', 'tsconfig.build.json', '--production', '--exclude', 'types'],
  },
  { name: 'shape', shows: 'no function over 150 lines, no class over 300', command: ['scripts/checks/shape.ts'] },
  { name: 'names', shows: 'one name means one thing, one thing is written once', command: ['scripts/checks/names.ts'] },
  { name: 'time', shows: 'the engine has no timer, clock or chance of its own', command: ['scripts/checks/engine-time.ts'] },
  { name: 'lookups', shows: 'no name from outside selects what an object inherits', command: ['scripts/checks/lookups.ts'] },
  {
    name: 'lockfile',
    shows: 'the lockfile is whole and agrees with the manifests',
    command: ['scripts/checks/lockfile.ts'],
    fix: 'npm run fix:lockfile',
  },
  { name: 'text', shows: 'file lengths, machine traces, unfinished work, skipped tests, links', command: ['scripts/checks/text.ts'] },
  { name: 'map', shows: "what the newcomer's map names is there, four files a row", command: ['scripts/checks/newcomer-map.ts'] },
  { name: 'mutants', shows: 'each bug that proves a test can still be planted', command: ['scripts/checks/mutants.ts'] },
  {
    name: 'openapi',
    shows: 'docs/openapi.json is what the routes and schemas say',
    command: ['--conditions=nexus-source', 'scripts/openapi.ts', '--check'],
    fix: 'npm run fix:openapi',
  },
  {
    name: 'configuration',
    shows: 'docs/configuration.md is what the config slices say',
    command: ['--conditions=nexus-source', 'scripts/configuration.ts', '--check'],
    fix: 'npm run fix:configuration',
  },
  {
    name: 'proto',
    shows: 'messages of gRPC follow the rules, and older callers understand them',
    command: ['scripts/checks/proto.ts'],
    fix: 'npm run fix:proto, where it only adds',
  },
  {
    name: 'errors',
    shows: 'each error code is raised, and the details it documents are written',
    command: ['--conditions=nexus-source', 'scripts/checks/errors.ts'],
  },
  { name: 'requirements', shows: 'each promise has a test', command: ['scripts/checks/requirements.ts'] },
  { name: 'tests', shows: 'everything behaves', command: ['node_modules/vitest/vitest.mjs', 'run'] },
];
