import { type Mutant, server } from './mutant.ts';

const declared = `${server}/tools/contract/declared-servers.ts`;
const readerTests = [`${server}/tools/contract/declared-servers.test.ts`];
const agentTests = ['test/e2e/agent-mcp-servers.test.ts'];
const mcp = `${server}/tools/sources/mcp`;
const nodeTests = [`${mcp}/two-nodes.test.ts`];
const endTests = [`${mcp}/program-ends.test.ts`];

/** Of MCP servers that agents declare, and of programs that end. */
export const agentServerMutants: readonly Mutant[] = [
  {
    bug: 'declared: tools of another server than the agent declares are offered to it',
    file: declared,
    replace: 'if (declared === null || declared !== mark)',
    by: 'if (declared === null)',
    tests: [...readerTests, ...agentTests],
  },
  {
    bug: 'declared: who may only store agents adds a server',
    file: `${server}/control/agent-servers.ts`,
    replace: "if (!(error instanceof NexusError) || error.code !== 'policy_denied') throw error;",
    by: "if (error instanceof NexusError && error.code === 'policy_denied') return;",
    tests: agentTests,
  },
  {
    bug: 'declared: another server is put in the place of one',
    file: `${mcp}/declared.ts`,
    replace: '  if (isAsDeclared(server, kept.definition)) return;',
    by: '  if (isAsDeclared(server, kept.definition) || agent.length > 0) return;',
    tests: agentTests,
  },
  {
    bug: 'declared: what an agent states beyond the transport is passed over',
    file: declared,
    replace: '  return stated.every((part) =>',
    by: '  return stated.length > 9 || [].every((part: never) =>',
    tests: readerTests,
  },
  {
    bug: 'declared: a secret by its shape is taken in plain words',
    file: declared,
    replace: 'if (isSecret(name, text) || redactText(',
    by: 'if (isSecret(name, text) || String(',
    tests: readerTests,
  },
  {
    bug: 'declared: storing an agent approves a server that was never seen',
    file: `${server}/control/agent-servers.ts`,
    replace: "['absent', 'differs'].includes(",
    by: "['differs', 'unapproved', 'absent'].slice(1).includes(",
    tests: agentTests,
  },
  {
    bug: 'declared: a process that only looks adds servers',
    file: `${server}/apps/agent-servers.ts`,
    replace: '      if (isClosed || onlyLooks) return;',
    by: '      if (isClosed) return;',
    tests: [`${server}/apps/agent-servers.test.ts`],
  },
  {
    bug: 'ends: a program that ends itself in each call is started by each',
    file: `${mcp}/recent-failures.ts`,
    replace: 'until: failures < 2 ? 0 :',
    by: 'until: failures < 200 ? 0 :',
    tests: endTests,
  },
  {
    bug: 'ends: what a program did does not make up for its ends',
    file: `${mcp}/connections.ts`,
    replace: '          failures.worked(serverId);\n',
    by: '',
    tests: endTests,
  },
  {
    bug: 'ends: a program is killed without a word',
    file: `${mcp}/programs.ts`,
    replace: 'await process.terminate();',
    by: 'process.kill();',
    tests: endTests,
  },
  {
    bug: 'ends: a program that dies of the later revision cannot be used',
    file: `${mcp}/program-connections.ts`,
    replace: 'if (isFormer || !(error instanceof EndedByItself) || signal.aborted) throw error;',
    by: 'throw error;',
    tests: endTests,
  },
  {
    bug: 'ends: the revision that a program knows is asked each time',
    file: `${mcp}/program-connections.ts`,
    replace: '    former.set(key, true);\n    return connection;',
    by: '    return connection;',
    tests: endTests,
  },
  {
    bug: 'pins: another node that adds the server undoes what was approved',
    file: `${mcp}/register.ts`,
    replace: 'if (!(await store.putToolSource(row, kept?.version ?? null))) continue;',
    by: 'await store.putToolSource(row);',
    tests: nodeTests,
  },
  {
    bug: 'pins: what another node saw first is approved in the place of what a person approved',
    file: `${mcp}/administration.ts`,
    replace: '      if (first && now.pins !== null) return null;\n',
    by: '',
    tests: nodeTests,
  },
  {
    bug: 'pins: a source is put in the place of what nobody has read',
    file: `${server}/storage/tables/tool-sources.ts`,
    replace: '  if (before !== undefined && (known[0]?.version ?? null) !== before) return false;\n',
    by: '',
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'declared: what a server may ask is nobody’s statement',
    file: `${server}/tools/contract/declared-servers.ts`,
    replace: 'elicitation: ({ elicitation = false }) => elicitation,',
    by: 'elicitation: () => false,',
    tests: [`${server}/tools/contract/declared-servers.test.ts`],
  },
  {
    bug: 'declared: a host has the name by which secrets are granted to programs',
    file: `${server}/tools/sources/mcp/reach.ts`,
    replace: 'if (hostnameOf(url) === programHost)',
    by: 'if (hostnameOf(url) === String(undefined))',
    tests: [`${server}/tools/sources/mcp/servers.test.ts`],
  },
];
