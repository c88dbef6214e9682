import { type Mutant, server } from './mutant.ts';

const permitTests = [`${server}/policy/engine/permits.test.ts`];

/** Of who may permit what, and of names that are written otherwise. */
export const permitMutants: readonly Mutant[] = [
  {
    bug: 'permits: an administrator sees the keys of another tenant',
    file: `${server}/identity/keys.ts`,
    replace: 'if (of !== principal.tenantId && !isOwner(principal))',
    by: "if (of === '' && !isOwner(principal))",
    tests: ['test/e2e/tenants.test.ts'],
  },
  {
    bug: 'permits: an administrator revokes a key of another tenant',
    file: `${server}/identity/keys.ts`,
    replace: 'row !== null && isOwner(principal) ? row.tenantId',
    by: 'row !== null ? row.tenantId',
    tests: ['test/e2e/tenants.test.ts'],
  },
  {
    bug: "permits: a tenant's agent has the name of the operator's",
    file: `${server}/policy/compile/resource.ts`,
    replace: "return origin === 'tenant' ?",
    by: "return origin === 'tenant' && name === '' ?",
    tests: permitTests,
  },
  {
    bug: "permits: what a tenant's agent allows permits by itself",
    file: `${server}/policy/engine/engine.ts`,
    replace: "agentsPermit && origin !== 'tenant'",
    by: 'agentsPermit',
    tests: permitTests,
  },
  {
    bug: "permits: the default for tenants stays beside the operator's own permits",
    file: `${server}/policy/engine/engine.ts`,
    replace: 'tenantsAllow === undefined && current.granted().has(action)',
    by: "tenantsAllow !== undefined && current.granted().has(action) && action === 'run.start'",
    tests: permitTests,
  },
  {
    bug: 'permits: a private host is public to tenants',
    file: `${server}/policy/forms/short-form.ts`,
    replace: '!(resource has private && resource.private)',
    by: 'true',
    tests: permitTests,
  },
  {
    bug: 'permits: an IPv4 address written as IPv6 is another host',
    file: `${server}/policy/compile/hosts.ts`,
    replace: 'if (high === undefined || low === undefined) return name;',
    by: "if (high === undefined || low === undefined || name !== '') return name;",
    tests: [`${server}/policy/compile/hosts.test.ts`],
  },
  {
    bug: 'permits: a file in capitals is another one',
    file: `${server}/policy/compile/files.ts`,
    replace: ".normalize('NFC').toLowerCase().normalize('NFC')",
    by: ".normalize('NFC')",
    tests: permitTests,
  },
  {
    bug: 'permits: a search reads what policy forbids',
    file: `${server}/tools/sources/builtin/fs.ts`,
    replace: 'if (refusal !== null) {',
    by: "if (refusal?.code === 'internal') {",
    tests: [`${server}/tools/sources/builtin/touched-files.test.ts`],
  },
  {
    bug: 'permits: code is given files that policy forbids',
    file: `${server}/tools/sources/builtin/code-js.ts`,
    replace: '        await reading.require(path);\n',
    by: '',
    tests: [`${server}/tools/sources/builtin/touched-files.test.ts`],
  },
  {
    bug: 'permits: a header with a key goes along to another host',
    file: `${server}/tools/sources/builtin/http-fetch.ts`,
    replace: 'filter(([name]) => plainHeaders.has(name))',
    by: "filter(([name]) => name !== 'authorization' && name !== 'cookie')",
    tests: [`${server}/tools/sources/builtin/http-fetch.test.ts`],
  },
  {
    bug: "permits: a tenant raises the owner's limit",
    file: `${server}/ledger/rules.ts`,
    replace: '(limit === null || limit > kept.limit)',
    by: 'limit === null',
    tests: [`${server}/ledger/owned.test.ts`],
  },
  {
    bug: "permits: a user is freed from the owner's limit of every user",
    file: `${server}/ledger/rules.ts`,
    replace: 'return forAll?.owned === true ? forAll : undefined;',
    by: 'return undefined;',
    tests: [`${server}/ledger/owned.test.ts`],
  },
  {
    bug: 'permits: a rule that excludes itself is taken',
    file: `${server}/policy/compile/contradictions.ts`,
    replace: 'if (one !== undefined && other !== undefined)',
    by: "if (one !== undefined && other === '')",
    tests: [`${server}/policy/compile/contradictions.test.ts`],
  },
];
