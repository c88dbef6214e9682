/**
 * Layers, rooms, doors and cycles: how the parts may depend on each other. The plan is in `house.ts`.
 *
 *   node --conditions=nexus-source scripts/checks/architecture.ts
 *
 * Type-only imports count. Tests may use any module, through its door or the door of its `testing` folder, which source may not.
 * Each rule has a name that its findings carry; `npm run verify:gates` plants a violation of each and sees it caught.
 */
import { type Finding, isTestCode, report } from './files.ts';
import { house } from './house.ts';
import { type Edge, type ImportGraph, manifestOf, readImportGraph } from './import-graph.ts';

const server = 'packages/server/src/';
/** The slice of the configuration that a module owns: see `house.ts`. */
const configRoom = 'config';

/** What is not shipped has the freedom of a test: any module, and what the root declares for development. */
function isNotShipped(file: string): boolean {
  return isTestCode(file) || /^(bench|scripts)\//.test(file);
}

interface Place {
  /** `core`, `budget`, …; undefined outside the server's modules. */
  readonly module: string | undefined;
  /** The room of that module; undefined for files in the module's own folder. */
  readonly room: string | undefined;
  /** What has a door: `runs/journal` for a room, else the module. */
  readonly part: string | undefined;
  readonly isTest: boolean;
}

function placeOf(file: string): Place {
  const isTest = isNotShipped(file);
  if (!file.startsWith(server)) return { module: undefined, room: undefined, part: undefined, isTest };
  const inside = file.slice(server.length).split('/');
  const module = inside.length > 1 ? inside[0] : undefined;
  if (module === undefined) return { module, room: undefined, part: undefined, isTest };
  const { rooms = [], drivers = [] } = house[module] ?? {};
  const room = inside.length > 2 ? [configRoom, ...rooms, ...drivers].find((name) => name === inside[1]) : undefined;
  return { module, room, part: room === undefined ? module : `${module}/${room}`, isTest };
}

function isDriver({ module, room }: Place): boolean {
  return module !== undefined && room !== undefined && house[module]?.drivers?.includes(room) === true;
}

type Rule = (edge: Edge, from: Place, to: Place) => string | undefined;

/** Rules about one import of one file by another. */
const fileRules: Readonly<Record<string, Rule>> = {
  'test-in-source': (_edge, from, to) => (!from.isTest && to.isTest ? 'source must not import test code' : undefined),

  door: (edge, from, to) => {
    if (from.part !== undefined && from.part === to.part) return undefined;
    const target = fileOf(edge);
    if (to.part === undefined) {
      const packageRoot = /^packages\/[^/]+\//.exec(target)?.[0];
      const crosses = packageRoot !== undefined && !edge.from.startsWith(packageRoot);
      return crosses && target !== `${packageRoot}src/index.ts` && target.includes('/src/')
        ? 'import the package by its name, not a file inside it'
        : undefined;
    }
    // A driver implements the types of the module around it.
    if (isDriver(from) && from.module === to.module && to.part === to.module) return undefined;
    if (from.isTest && target === `${server}${to.part}/testing/index.ts`) return undefined;
    if (target !== `${server}${to.part}/index.ts`) return `reaches past the door: import #${to.part}`;
    return edge.specifier.startsWith('.') && from.module !== undefined ? `import #${to.part} instead of a path` : undefined;
  },

  layer: (_edge, from, to) => {
    const [low, high] = [layerOf(to), layerOf(from)];
    if (from.isTest || low === undefined || high === undefined || from.module === to.module) return undefined;
    if (low > high) return `${from.module} (layer ${high}) must not import ${to.module} (layer ${low})`;
    return undefined;
  },

  sibling: (_edge, from, to) => {
    if (from.isTest || from.module === to.module || layerOf(from) === undefined || layerOf(from) !== layerOf(to)) return undefined;
    if (to.module !== undefined && house[from.module ?? '']?.knows?.includes(to.module) === true) return undefined;
    return `${from.module} and ${to.module} are of one layer and must not know each other`;
  },

  /** Inside a module: a room knows earlier rooms only, and never the files that join the rooms. */
  room: (_edge, from, to) => {
    if (from.isTest || from.module === undefined || from.part === to.part) return undefined;
    const rooms = [configRoom, ...(house[to.module ?? '']?.rooms ?? [])];
    if (from.module !== to.module) {
      if (to.room === configRoom || house[to.module ?? '']?.light?.includes(to.room ?? '') === true) return undefined;
      return to.room !== undefined && rooms.includes(to.room) ? `${to.part} is a room of ${to.module}: import #${to.module}` : undefined;
    }
    if (from.room === undefined || !rooms.includes(from.room)) return undefined;
    if (to.room === undefined) return `${from.part} must not know the files that join the rooms of ${from.module}`;
    return rooms.indexOf(to.room) > rooms.indexOf(from.room) ? `${from.part} comes before ${to.part} and must not know it` : undefined;
  },

  /** The command line reads the configuration without the server: what describes it must not load the server. */
  config: (_edge, from, to) => {
    if (from.isTest || from.room !== configRoom || from.part === to.part || to.module === 'core') return undefined;
    if (from.module === 'apps' && to.room === configRoom) return undefined;
    return `${from.part} may know ${from.module === 'apps' ? 'core and the slices of the modules' : 'core'} only`;
  },

  driver: (_edge, from, to) => {
    if (!isDriver(to) || from.part === to.part || from.isTest || from.module === 'apps') return undefined;
    return `only apps may import ${to.part}`;
  },

  'api-storage': (_edge, from, to) =>
    from.module === 'api' && to.module === 'storage' && !from.isTest ? 'api sees what layer 3 offers, never storage' : undefined,

  'unknown-module': (_edge, from) =>
    from.module !== undefined && house[from.module] === undefined ? `${from.module} has no layer in scripts/checks/house.ts` : undefined,
};

/** What the published packages may depend on; they must also run in a browser, so Node's own modules are out. */
const packageAllows: Readonly<Record<string, readonly string[]>> = {
  'packages/protocol': ['zod'],
  'packages/sdk': ['@nexus-agent/protocol'],
};

function layerOf({ module }: Place): number | undefined {
  return module === undefined ? undefined : house[module]?.layer;
}

function fileOf(edge: Edge): string {
  return edge.target.type === 'file' ? edge.target.file : '';
}

function checkEdge(edge: Edge, graph: ImportGraph): Finding[] {
  const found = (rule: string, message: string): Finding => ({
    rule,
    file: edge.from,
    line: edge.line,
    message: `${edge.specifier}: ${message}`,
  });
  const manifest = manifestOf(graph.manifests, edge.from);
  const isTest = isNotShipped(edge.from);
  const findings: Finding[] = [];
  if (edge.target.type === 'unresolved') return [found('unresolved', 'there is no such file or door')];
  const named = edge.specifier.startsWith('.') || edge.specifier.startsWith('#') ? undefined : nameOf(edge);
  const allowed = manifest === undefined ? undefined : packageAllows[manifest.folder];
  if (!isTest && named !== undefined && allowed !== undefined && !allowed.includes(named)) {
    findings.push(found('package-dependency', `${manifest?.folder} may depend on ${allowed.join(', ')} only`));
  }
  if (named !== undefined && edge.target.type !== 'builtin' && !isOfK6(named, edge.from) && !isDeclared(named, edge.from, graph)) {
    findings.push(found('undeclared-dependency', `not declared in ${manifest?.folder || 'the root'}/package.json`));
  }
  if (edge.target.type === 'file') {
    const [from, to] = [placeOf(edge.from), placeOf(edge.target.file)];
    for (const [rule, check] of Object.entries(fileRules)) {
      const message = check(edge, from, to);
      if (message !== undefined) findings.push(found(rule, message));
    }
  }
  return findings;
}

/** Load scripts run in k6, which has its modules in itself. */
function isOfK6(named: string, file: string): boolean {
  return (named === 'k6' || named.startsWith('k6/')) && /^bench\/\w+_test\.js$/.test(file);
}

function nameOf(edge: Edge): string {
  return edge.target.type === 'package' || edge.target.type === 'builtin'
    ? edge.target.name
    : edge.specifier
        .split('/')
        .slice(0, edge.specifier.startsWith('@') ? 2 : 1)
        .join('/');
}

/**
 * Tests, scripts and configuration may also use what the repository's root declares for development. A package outside the
 * workspace, such as the peers of the benchmark, has only what it declares itself.
 */
function isDeclared(name: string, file: string, graph: ImportGraph): boolean {
  const own = manifestOf(graph.manifests, file);
  if (own === undefined || own.name === name || own.dependencies.has(name)) return true;
  const shipped = file.startsWith('packages/') && !isTestCode(file);
  const alone = own.folder !== '' && !file.startsWith('packages/');
  const workspace = graph.manifests.some((manifest) => manifest.name === name && manifest.folder !== '');
  // The build puts the workspace's packages into the server's files: whoever installs it needs no others.
  if (shipped && own.folder === 'packages/server' && workspace && own.devDependencies.has(name)) return true;
  if (shipped || alone) return false;
  const root = graph.manifests.find((manifest) => manifest.folder === '');
  return own.devDependencies.has(name) || root?.devDependencies.has(name) === true || (own.folder === '' && workspace);
}

/** Groups of source files that import each other in a ring, found as strongly connected components (Tarjan). */
function findCycles(graph: ImportGraph): Finding[] {
  const next = new Map<string, string[]>();
  for (const edge of graph.edges) {
    if (edge.target.type === 'file' && edge.target.file !== edge.from)
      next.set(edge.from, [...(next.get(edge.from) ?? []), edge.target.file]);
  }
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const findings: Finding[] = [];
  const visit = (file: string): number => {
    const index = order.size;
    order.set(file, index);
    stack.push(file);
    let lowest = index;
    for (const target of next.get(file) ?? []) {
      if (!order.has(target)) lowest = Math.min(lowest, visit(target));
      else if (stack.includes(target)) lowest = Math.min(lowest, order.get(target) ?? lowest);
    }
    low.set(file, lowest);
    if (lowest === index) {
      const group = stack.splice(stack.indexOf(file));
      if (group.length > 1) findings.push({ rule: 'cycle', file, message: `imports itself through ${group.slice(1).join(', ')}` });
    }
    return lowest;
  };
  for (const file of next.keys()) if (!order.has(file)) visit(file);
  return findings;
}

/** What the plan names and nobody has built: a reader would look for it. */
function findEmpty(graph: ImportGraph): Finding[] {
  const built = new Set(graph.files.map(placeOf).flatMap(({ module, part }) => [module, part]));
  const planned = Object.entries(house).flatMap(([module, { rooms = [], drivers = [] }]) => [
    module,
    ...[...rooms, ...drivers].map((room) => `${module}/${room}`),
  ]);
  return planned
    .filter((part) => !built.has(part))
    .map((part) => ({ rule: 'empty-part', file: 'scripts/checks/house.ts', message: `${part}: no file lies there` }));
}

const graph = readImportGraph(process.cwd());
const findings = [...graph.edges.flatMap((edge) => checkEdge(edge, graph)), ...findCycles(graph), ...findEmpty(graph)];
report('architecture', `${graph.files.length} files, ${graph.edges.length} imports`, findings);
