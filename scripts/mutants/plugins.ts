import { type Mutant, server } from './mutant.ts';

const programs = `${server}/tools/sources/mcp/plugin-programs.ts`;
const programTests = [`${server}/tools/sources/mcp/plugin-programs.test.ts`];
const trustTests = ['test/e2e/plugin-trust.test.ts'];
const npmTests = [`${server}/cli/npm-package.test.ts`];
const npm = `${server}/cli/npm-package.ts`;

/** Of plugins: programs, keys, and packages of npm. */
export const pluginMutants: readonly Mutant[] = [
  {
    bug: 'plugin: a program runs for a tenant that the operator has not named',
    file: programs,
    replace: '    if (!tenants.includes(tenantId))',
    by: '    if (false)',
    tests: programTests,
  },
  {
    bug: 'plugin: a program may list more tools than its manifest',
    file: programs,
    replace: '  if (more !== undefined) throw lie(',
    by: '  if (false) throw lie(',
    tests: programTests,
  },
  {
    bug: 'plugin: a program may describe its tools to be something else',
    file: programs,
    replace: "    if ((found.description ?? '') !== description)",
    by: '    if (false)',
    tests: programTests,
  },
  {
    bug: 'plugin: a program has the limits that its manifest asks for',
    file: programs,
    replace: 'Math.min(most, wanted ?? most)',
    by: 'wanted ?? most',
    tests: programTests,
  },
  {
    bug: 'plugin: the old program stays when its plugin was replaced',
    file: `${server}/tools/sources/mcp/plugin-programs.ts`,
    replace: '      connections.keepOnly(\n',
    by: '      (() => undefined as unknown as typeof connections.keepOnly)()?.(\n',
    tests: programTests,
  },
  {
    bug: 'plugin: files stay when the last conversation is closed',
    file: `${server}/tools/sources/mcp/plugin-folders.ts`,
    replace: '    if (entry.users > 0) return;',
    by: '    if (entry.users >= 0) return;',
    tests: programTests,
  },
  {
    bug: 'plugin: a call of a plugin whose key was revoked goes on',
    file: `${server}/tools/sources/wasm/index.ts`,
    replace: '        if (why !== null) throw',
    by: '        if (false) throw',
    tests: trustTests,
  },
  {
    bug: 'plugin: the trust of the operator is worth more than a revocation',
    file: `${server}/tools/plugins/trust.ts`,
    replace: "      if (own.has(rowNameOfKey(fingerprint, 'revoked'))) return 'revoked';",
    by: "      if (!ofOperator.includes(signedBy) && own.has(rowNameOfKey(fingerprint, 'revoked'))) return 'revoked';",
    tests: trustTests,
  },
  {
    bug: 'plugin: what was accepted unsigned goes on when its key is revoked',
    file: `${server}/tools/plugins/trust.ts`,
    replace: "  if (trust === 'revoked') return `the key",
    by: "  if (trust === 'revoked' && plugin.isTrusted) return `the key",
    tests: [...trustTests, `${server}/tools/plugins/trust.test.ts`],
  },
  {
    bug: 'plugin: another signature of the same plugin is not noticed by whoever has it loaded',
    file: `${server}/tools/plugins/installed.ts`,
    replace: "{signedBy ?? ''}`;",
    by: "{''}`;",
    tests: trustTests,
  },
  {
    bug: 'plugin: an older version takes the place of a newer one',
    file: `${server}/control/plugins.ts`,
    replace: '  if (replaces?.isNewer === true && !request.allowDowngrade)',
    by: '  if (false)',
    tests: trustTests,
  },
  {
    bug: 'plugin: what was installed since it was shown is replaced unseen',
    file: `${server}/control/plugins.ts`,
    replace: "  if (request.replaces !== undefined && request.replaces !== (before?.digest ?? ''))",
    by: '  if (false)',
    tests: trustTests,
  },
  {
    bug: 'plugin: a package of npm is taken whatever its integrity',
    file: npm,
    replace: '  if (!integrity.some((each) => isHash(each, hash)))',
    by: '  if (false)',
    tests: npmTests,
  },
  {
    bug: 'plugin: a registry sends us to an address without TLS',
    file: npm,
    replace: "    if (url.protocol === 'https:' || (",
    by: "    if (url.protocol.startsWith('http') || (",
    tests: npmTests,
  },
  {
    bug: 'plugin: the token of one registry is shown to another',
    file: `${server}/cli/npm-settings.ts`,
    replace: '    authorizationFor(url) {\n',
    by: "    authorizationFor(url) {\n      const any = [...values].find(([key]) => key.endsWith(':_authToken'));\n      if (any !== undefined) return 'Bearer '.concat(any[1]);\n",
    tests: npmTests,
  },
  {
    bug: 'plugin: a manifest of a million things takes the process all of its memory',
    file: `${server}/tools/plugins/manifest.ts`,
    replace: '    if (tokens > maxManifestTokens) throw',
    by: '    if (false) throw',
    tests: [`${server}/tools/plugins/package.test.ts`],
  },
  {
    bug: 'plugin: a package of ten thousand folders is read to its end',
    file: `${server}/tools/plugins/tarball.ts`,
    replace: '    if (entries > maxEntries) throw',
    by: '    if (false) throw',
    tests: [`${server}/tools/plugins/package.test.ts`],
  },
  {
    bug: 'plugin: what a tenant has installed has no bound together',
    file: `${server}/control/plugins.ts`,
    replace: '  if (used + bytes <= maxTenantPluginBytes) return;',
    by: '  if (used + bytes > 0) return;',
    tests: ['test/e2e/plugins.test.ts'],
  },
  {
    bug: 'plugin: a process holds all that a tenant has installed',
    file: `${server}/tools/sources/wasm/index.ts`,
    replace: 'held + next.bytes <= maxTenantPluginBytes;',
    by: 'held + next.bytes >= 0;',
    tests: [`${server}/tools/sources/wasm/room.test.ts`],
  },
  {
    bug: 'plugin: a person is shown the beginning of what models are told',
    file: `${server}/cli/commands/plugins.ts`,
    replace: 'const maxToldChars = 40_000;',
    by: 'const maxToldChars = 80;',
    tests: ['test/e2e/plugin-programs.test.ts'],
  },
  {
    bug: 'plugin: a host whose name begins as addresses of this machine do is one',
    file: npm,
    replace: '/^127(\\.\\d{1,3}){3}$/',
    by: '/^127\\./',
    tests: npmTests,
  },
  {
    bug: 'configuration: an alias of what it lies in is followed without end',
    file: `${server}/core/settings/file.ts`,
    replace: '    JSON.stringify(value);\n',
    by: '',
    tests: [`${server}/core/settings/file.test.ts`],
  },
  {
    bug: 'plugin: a manifest is nested as deep as it likes',
    file: `${server}/tools/plugins/manifest.ts`,
    replace: '  if (isTooDeep(JSON.stringify(tree))) throw',
    by: '  if (false) throw',
    tests: [`${server}/tools/plugins/package.test.ts`],
  },
  {
    bug: 'configuration: the same key twice is taken for one',
    file: `${server}/core/settings/file.ts`,
    replace: '        if (known.has(key.value)) throw',
    by: '        if (false) throw',
    tests: [`${server}/core/settings/file.test.ts`],
  },
];
