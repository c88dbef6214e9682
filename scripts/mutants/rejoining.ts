import { type Mutant, server } from './mutant.ts';

const tests = ['test/e2e/tool-workers.test.ts'];
const purely = [`${server}/runs/steps/rejoining.test.ts`];
const calling = [`${server}/calls/tool-call.test.ts`];
const worker = `${server}/tools/sources/worker/worker-call.ts`;
const rejoined = [`${server}/tools/execution/rejoined-call.test.ts`];
const besideCore = ['test/e2e/agent-core-workers.test.ts'];
const running = `${server}/tools/execution/running-call.ts`;
const found = `${server}/runs/steps/rejoining.ts`;

/** Of calls that go on without the process that began them. */
export const rejoiningMutants: readonly Mutant[] = [
  {
    bug: 'rejoin: a process that leaves a run has the worker stopped',
    file: worker,
    replace: "if (reason.code === 'lease_lost') {",
    by: "if (reason.code === 'internal') {",
    tests,
  },
  {
    bug: 'rejoin: what nothing is kept of is begun again',
    file: worker,
    replace: "    if (this.#target.effects !== 'once') return false;\n    const [known]",
    by: "    if (this.#target.effects === 'once') return false;\n    const [known]",
    tests,
  },
  {
    bug: 'rejoin: what was lost by the process before is begun again',
    file: worker,
    replace: "known.error.code === 'tool_outcome_unknown'",
    by: "known.error.code === 'internal'",
    tests,
  },
  {
    bug: 'rejoin: a person cannot have a lost call begun again',
    file: worker,
    replace: '(this.#context.rejoins === true && this.#mayBeDone(row.answer))',
    by: 'this.#mayBeDone(row.answer)',
    tests,
  },
  {
    bug: 'rejoin: a worker gets no time to come back',
    file: worker,
    replace: 'this.#context.rejoins !== true || now - this.#queuedAt >= returnMs;',
    by: 'now - this.#queuedAt >= 0;',
    tests,
  },
  {
    bug: 'rejoin: a tool of that name is enough',
    file: found,
    replace: 'tool?.rejoinable !== true || ',
    by: 'tool === undefined || ',
    tests: purely,
  },
  {
    bug: 'rejoin: other effects are the same',
    file: found,
    replace: ' || tool.effects !== attempt.effects',
    by: '',
    tests: purely,
  },
  {
    bug: 'rejoin: what is paid for is paid for again',
    file: found,
    replace: '    if (held === undefined) return [];\n',
    by: '',
    tests: purely,
  },
  {
    bug: 'rejoin: a call that began by an earlier version is refused',
    file: `${server}/calls/tool-call.ts`,
    replace: '{ rejoins: true } : { toolVersion: tool.version }',
    by: '{ rejoins: true, toolVersion: tool.version } : { toolVersion: tool.version }',
    tests: calling,
  },
  {
    bug: 'rejoin: what cannot be come back to was not begun',
    file: `${server}/calls/tool-call.ts`,
    replace: "if (end.type !== 'failed' || end.began) return end;",
    by: "if (end.type !== 'failed' || !end.began) return end;",
    tests: calling,
  },
  {
    bug: 'rejoin: the calls are asked about all the same',
    file: `${server}/runs/steps/recovery.ts`,
    replace: 'isLost(each) && !goesOn.has(each.callId)',
    by: 'isLost(each)',
    tests,
  },
  {
    bug: 'rejoin: a call for a worker is lost with an agent core elsewhere',
    file: `${server}/apps/remote-tools.ts`,
    replace: 'return found?.rejoinable === true && ',
    by: 'return found?.rejoinable === undefined && ',
    tests: besideCore,
  },
  {
    bug: 'rejoin: what goes on elsewhere takes its turn again',
    file: running,
    replace: '    if (rejoins === true) return this.#proceed(found.tool, input);\n',
    by: '',
    tests: rejoined,
  },
  {
    bug: 'rejoin: what goes on elsewhere is checked by the schema of today',
    file: running,
    replace: '    if (this.#call.rejoins === true) return this.#enter(found, input as Record<string, unknown>);\n',
    by: '',
    tests: rejoined,
  },
  {
    bug: 'rejoin: a cancel that comes before the call is back stops nobody',
    file: running,
    replace: "return rejoins === true && code !== 'lease_lost';",
    by: "return rejoins === true && code === 'internal';",
    tests: rejoined,
  },
  {
    bug: 'rejoin: a call that was not put into the database for a moment has failed, and is done all the same',
    file: worker,
    replace: "error.code !== 'storage_unavailable') throw error;",
    by: "error.code !== 'internal') throw error;",
    tests,
  },
  {
    bug: 'rejoin: a process that ends waits for what goes on without it',
    file: `${server}/runs/drive/effects.ts`,
    replace: 'this.#rejoinable.get(callId)?.isFound !== true',
    by: 'this.#rejoinable.get(callId)?.isFound !== null',
    tests: [`${server}/runs/drive/executor.test.ts`],
  },
  {
    bug: 'rejoin: a process that gives a run back has its worker stopped',
    file: `${server}/runs/drive/executor.ts`,
    replace: "new NexusError('lease_lost', 'another worker takes the run over')",
    by: "new NexusError('cancelled', 'another worker takes the run over')",
    tests: ['test/chaos/worker-calls.test.ts'],
  },
];
