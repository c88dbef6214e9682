/**
 * The engine has no time and no chance of its own: it is given `Clock`, `Timers` and an id source, so that a test, or a simulation of a
 * whole cluster, decides what time it is and what is drawn.
 *
 *   node scripts/checks/engine-time.ts
 *
 * Looks at every module of the layers 1 to 3 in `house.ts`, apart from the places below. Reads syntax, so it sees a raw timer, clock or
 * source of chance also where it is only named: as a default, taken out of its object, or reached through `globalThis`.
 * `queueMicrotask` is left alone: it waits for no time, and a simulation runs it in the same order each time.
 *
 * Tests that draw what they do (`test/chaos`, `test/sim`) have time of their own and no chance: all of it comes from one seed that is printed.
 */
import { type Finding, isTestCode, report } from './files.ts';
import { house } from './house.ts';
import { childOf, childrenOf, nameOf, readSources, type SourceFile, type SyntaxNode, textOf, walk } from './syntax.ts';

const server = 'packages/server/src/';

/** Places in those layers that meet the real world, each with why. The drivers of `house.ts` are such places too. */
const outside: readonly { readonly place: RegExp; readonly why: string }[] = [
  { place: /^telemetry\//, why: 'tells people of this process and its real time' },
  { place: /^llm\/transport(\/|\.ts$)/, why: 'sockets of providers, which stall in real time' },
  { place: /^tools\/sandbox\//, why: 'a guest is a thread, which is stopped after the time that really passed' },
];

/** What a place may use all the same. */
const granted: readonly { readonly place: RegExp; readonly name: string; readonly why: string }[] = [
  { place: /^identity\//, name: 'randomBytes', why: 'a secret must not follow from a seed' },
  { place: /^tools\/workspace\//, name: 'randomBytes', why: 'names of unfinished files, new also beside other processes of the machine' },
];

type Kind = 'timer' | 'clock' | 'chance';
const instead: Readonly<Record<Kind, string>> = {
  timer: 'take Timers as a dependency',
  clock: 'take Clock as a dependency',
  chance: 'take an id source or a random function as a dependency',
};

/** Globals that must not be named at all. */
const forbidden: Readonly<Record<string, Kind>> = {
  setTimeout: 'timer',
  setInterval: 'timer',
  setImmediate: 'timer',
  performance: 'clock',
  Temporal: 'clock',
};

/** Globals of which some members are raw; they must not be passed on whole. `Date` is also raw when it is called without a time. */
const partly: Readonly<Record<string, Readonly<Record<string, Kind>>>> = {
  Date: { now: 'clock' },
  Math: { random: 'chance' },
  process: { hrtime: 'clock', uptime: 'clock', getBuiltinModule: 'timer' },
  crypto: { getRandomValues: 'chance', randomUUID: 'chance' },
  AbortSignal: { timeout: 'timer' },
};

/** Names that other modules give to raw things; `*` is the whole module. */
const imports: readonly { readonly from: RegExp; readonly names: Readonly<Record<string, Kind>> }[] = [
  { from: /^(node:)?timers(\/promises)?$/, names: { '*': 'timer' } },
  { from: /^(node:)?perf_hooks$/, names: { '*': 'clock' } },
  {
    from: /^(node:)?crypto$/,
    names: {
      default: 'chance',
      namespace: 'chance',
      webcrypto: 'chance',
      getRandomValues: 'chance',
      randomBytes: 'chance',
      randomFill: 'chance',
      randomFillSync: 'chance',
      randomInt: 'chance',
      randomUUID: 'chance',
    },
  },
  { from: /^#core$/, names: { systemClock: 'clock', systemTimers: 'timer' } },
];

const seeded = /^test\/(chaos|sim)\//;
/** Where the seed itself is drawn. */
const seedFile = 'test/chaos/seed.ts';

const globalObjects = new Set(['globalThis', 'global']);
const wrappers = new Set(['ParenthesizedExpression', 'TSAsExpression', 'TSSatisfiesExpression', 'TSNonNullExpression']);

function isEngine(file: string): boolean {
  if (!file.startsWith(server) || isTestCode(file)) return false;
  const inside = file.slice(server.length);
  const [module = '', room = ''] = inside.split('/');
  const { layer = 0, drivers = [] } = house[module] ?? {};
  return layer >= 1 && layer <= 3 && !drivers.includes(room) && !outside.some(({ place }) => place.test(inside));
}

function checkFile({ file, program, lineAt }: SourceFile): Finding[] {
  const findings = new Map<string, Finding>();
  const found = (node: SyntaxNode, what: string, kind: Kind) => {
    if (seeded.test(file) && kind !== 'chance') return;
    if (granted.some(({ place, name }) => place.test(file.slice(server.length)) && name === what)) return;
    const line = lineAt(node.start);
    findings.set(`${line} ${what}`, {
      rule: `raw-${kind}`,
      file,
      line,
      message: `${what}: ${seeded.test(file) ? 'draw from the seed, see test/chaos/seed.ts' : instead[kind]}`,
    });
  };
  walk(program, (node, around) => {
    for (const [name, kind] of importedBy(node)) found(node, name, kind);
    const name = nameOf(node);
    if (name === undefined || !isValue(node, around)) return;
    for (const path of pathsFrom(name, node, around)) {
      const kind = rawKind(path);
      if (kind !== undefined) found(node, path.join('.'), kind);
    }
  });
  return [...findings.values()];
}

function importedBy(node: SyntaxNode): [name: string, kind: Kind][] {
  const from = textOf(childOf(node, 'source'));
  const names = imports.find((entry) => from !== undefined && entry.from.test(from))?.names;
  if (from === undefined || names === undefined || node.importKind === 'type' || node.exportKind === 'type') return [];
  const whole = names['*'];
  if (whole !== undefined) return [[from, whole]];
  if (node.type === 'ImportExpression' || node.type === 'ExportAllDeclaration') {
    return names.namespace === undefined ? [] : [[from, names.namespace]];
  }
  return childrenOf(node, 'specifiers').flatMap((entry): [string, Kind][] => {
    const imported = childOf(entry, node.type === 'ImportDeclaration' ? 'imported' : 'local');
    const byType = entry.type === 'ImportNamespaceSpecifier' ? 'namespace' : 'default';
    const name = nameOf(imported) ?? textOf(imported) ?? byType;
    const kind = entry.importKind === 'type' ? undefined : names[name];
    return kind === undefined ? [] : [[name === byType ? from : name, kind]];
  });
}

/** Does the identifier stand for a value, rather than for a type, a key or a name in an import? */
function isValue(node: SyntaxNode, around: readonly SyntaxNode[]): boolean {
  const parent = around.at(-1);
  if (parent === undefined || (parent.type.startsWith('TS') && !wrappers.has(parent.type))) return false;
  if (/^(Import|Export)\w*Specifier$/.test(parent.type)) return parent.type === 'ExportSpecifier' && parent.local === node;
  if (parent.computed === true) return true;
  return parent.property !== node && parent.key !== node;
}

/** What is reached from the identifier: `Date.now` is `['Date', 'now']`; `?` stands for a member that only the run knows. */
function pathsFrom(name: string, node: SyntaxNode, around: readonly SyntaxNode[]): string[][] {
  const path = [name];
  let current = node;
  let parent: SyntaxNode | undefined;
  for (const outer of around.toReversed()) {
    parent = outer;
    if (outer.type === 'MemberExpression' && outer.object === current) {
      const property = childOf(outer, 'property');
      path.push((outer.computed === true ? textOf(property) : nameOf(property)) ?? '?');
    } else if (!wrappers.has(outer.type)) break;
    current = outer;
  }
  const pattern = parent?.type === 'VariableDeclarator' ? childOf(parent, 'id') : childOf(parent, 'left');
  const isSource = parent?.init === current || parent?.right === current;
  const taken = isSource && pattern?.type === 'ObjectPattern' ? childrenOf(pattern, 'properties') : [];
  const paths =
    taken.length === 0
      ? [path]
      : taken.map((property) => [...path, nameOf(childOf(property, 'key')) ?? textOf(childOf(property, 'key')) ?? '?']);
  return paths
    .filter((item) => item.length > 1 || !isHarmless(name, current, parent))
    .map((item) => (globalObjects.has(name) && item.length > 1 ? item.slice(1) : item));
}

/** Uses of a whole object that take nothing raw out of it. */
function isHarmless(name: string, node: SyntaxNode, parent: SyntaxNode | undefined): boolean {
  if (parent?.type === 'NewExpression' && parent.callee === node && name === 'Date') {
    const [first] = childrenOf(parent, 'arguments');
    return first !== undefined && first.type !== 'SpreadElement';
  }
  if (parent?.type === 'UnaryExpression') return parent.operator === 'typeof';
  return parent?.type === 'BinaryExpression' && parent.operator === 'instanceof' && parent.right === node;
}

function rawKind([root = '', member]: readonly string[]): Kind | undefined {
  if (root === '?' || globalObjects.has(root)) return 'timer';
  const whole = Object.hasOwn(forbidden, root) ? forbidden[root] : undefined;
  if (whole !== undefined || !Object.hasOwn(partly, root)) return whole;
  const members = partly[root] ?? {};
  if (member === undefined || member === '?') return Object.values(members)[0];
  return Object.hasOwn(members, member) ? members[member] : undefined;
}

const sources = readSources(process.cwd(), (file) => isEngine(file) || (seeded.test(file) && file !== seedFile));
report('engine-time', `${sources.length} files`, sources.flatMap(checkFile));
