import { type Mutant, server } from './mutant.ts';

const turns = `${server}/storage/tables/turns.ts`;
const storeTests = ['test/conformance/storage.test.ts'];
const hosts = `${server}/policy/compile/hosts.ts`;
const hostTests = [`${server}/policy/compile/hosts.test.ts`, `${server}/policy/engine/engine.test.ts`];

/** Of what keeps tenants, people and administrators within their bounds: turns in the queue, policy, roles, sessions that are closed. */
export const controlMutants: readonly Mutant[] = [
  {
    bug: 'control: the first tenant takes a whole claim',
    file: turns,
    replace: 'Math.max(1, Math.floor(room / waiting.length))',
    by: 'room',
    tests: storeTests,
  },
  {
    bug: 'control: who has nothing left ends the turns of the others',
    file: turns,
    replace: 'waiting = [...waiting.slice(turn.length), ...turn.filter(',
    by: 'waiting = [...turn.filter(',
    tests: storeTests,
  },
  {
    bug: 'control: the turns begin anew with each claim',
    file: turns,
    replace: 'if (turn.length < waiting.length && last !== undefined) after = last;',
    by: '',
    tests: storeTests,
  },
  {
    bug: 'control: a busy process takes what came just now',
    file: `${server}/runs/dispatch/claims.ts`,
    replace: 'lease.isBusier() ? restMs : 0',
    by: '0',
    tests: [`${server}/runs/dispatch/dispatch.test.ts`],
  },
  {
    bug: 'control: a final dot makes another host',
    file: hosts,
    replace: "const name = url.hostname.replace(/^\\[(.*)\\]$/, '$1').replace(/\\.+$/, '');",
    by: "const name = url.hostname.replace(/^\\[(.*)\\]$/, '$1');",
    tests: hostTests,
  },
  {
    bug: 'control: a policy that writes a host otherwise is taken, and never applies',
    file: `${server}/policy/compile/spelling.ts`,
    replace: 'return host.name === id ? null :',
    by: 'return host.name !== null ? null :',
    tests: [`${server}/policy/engine/sources.test.ts`],
  },
  {
    bug: 'control: whoever policy refuses administers all the same',
    file: `${server}/control/administration.ts`,
    replace: '      if (isAllowed) return;\n',
    by: '      if (isAllowed || row.at > 0) return;\n',
    tests: [`${server}/control/administration.test.ts`],
  },
  {
    bug: 'control: a repeated answer to an approval records another permit',
    file: `${server}/storage/tables/approvals.ts`,
    replace: 'if (decided && answer.permit',
    by: 'if (answer.permit',
    tests: storeTests,
  },
  {
    bug: 'control: an administrator makes himself an owner',
    file: `${server}/identity/keys.ts`,
    replace: 'if (isOwner(principal)) return;',
    by: "if (principal.roles.includes('owner') || wanted.includes('owner')) return;",
    tests: ['test/e2e/administration.test.ts'],
  },
  {
    bug: 'control: a misspelt tool of a policy is told to nobody',
    file: `${server}/control/agent-notes.ts`,
    replace: ".flatMap(([policy, names]) => names.filter((name) => !name.startsWith('agent_'))",
    by: ".flatMap(([policy, names]) => names.filter((name) => name.startsWith('agent_'))",
    tests: [`${server}/apps/definition-folder.test.ts`],
  },
  {
    bug: 'control: a key makes one that outlives it',
    file: `${server}/identity/keys.ts`,
    replace: 'if (makerExpiresAt !== null && (expiresAt === undefined ||',
    by: 'if (makerExpiresAt !== null && (expiresAt !== undefined &&',
    tests: [`${server}/identity/keys.test.ts`],
  },
  {
    bug: 'control: a run is resumed into a session that is closed',
    file: `${server}/storage/tables/queue.ts`,
    replace: "  if (session?.status !== 'active') return 'closed';\n",
    by: "  if (session === undefined) return 'closed';\n",
    tests: storeTests,
  },
  {
    bug: 'control: what is open in a session goes on after it was closed',
    file: `${server}/storage/tables/closing.ts`,
    replace: '...open.flatMap((runId) => cancelRequest(tenant, runId, reason, now)),',
    by: '',
    tests: storeTests,
  },
  {
    bug: 'control: a fork is written without the money that it needs',
    file: `${server}/runs/start/begin-run.ts`,
    replace: 'const begun = here ? await',
    by: 'const begun = here && draft.forked === null ? await',
    tests: ['test/e2e/sessions.test.ts'],
  },
  {
    bug: 'control: a role in capitals is another role',
    file: `${server}/identity/keys.ts`,
    replace: 'return role.toLowerCase();',
    by: 'return role;',
    tests: [`${server}/identity/keys.test.ts`],
  },
  {
    bug: 'control: a key gives roles that it lacks',
    file: `${server}/identity/keys.ts`,
    replace: 'const role = wanted.find((each) => !has.has(each));',
    by: "const role = wanted.find((each) => each === 'owner');",
    tests: ['test/e2e/administration.test.ts'],
  },
  {
    bug: 'control: a reader goes on under a key that expired',
    file: `${server}/identity/keys.ts`,
    replace: 'last !== undefined && clock.monotonic() - last.at < lookMs',
    by: 'last !== undefined',
    tests: [`${server}/identity/keys.test.ts`],
  },
  {
    bug: 'control: policies in force with an obligation that is not known stop a node',
    file: `${server}/control/followed-definitions.ts`,
    replace: 'inForce: true }',
    by: 'inForce: false }',
    tests: [`${server}/apps/definition-folder.test.ts`],
  },
  {
    bug: 'control: a command that only looks imports what lies in its folders',
    file: `${server}/apps/all-in-one.ts`,
    replace: "? 'own' : config.definitions.import",
    by: "? 'auto' : config.definitions.import",
    tests: [`${server}/apps/definition-folder.test.ts`],
  },
  {
    bug: 'control: an approval is judged on the arguments of the question and not on the edited ones',
    file: `${server}/runs/approved-call.ts`,
    replace: 'edited.arguments ?? approval.input',
    by: 'approval.input',
    tests: ['test/e2e/approvals.test.ts'],
  },
  {
    bug: 'control: a port that stands in the name of a host is not known to policies',
    file: `${server}/policy/engine/request.ts`,
    replace: "name === 'port' ? resource.port : request",
    by: 'request',
    tests: [`${server}/policy/engine/engine.test.ts`],
  },
];
