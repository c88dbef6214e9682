import { type Mutant, server } from './mutant.ts';

const tests = ['test/e2e/tool-workers.test.ts'];
const purely = [`${server}/runs/steps/rejoining.test.ts`];
const calling = [`${server}/calls/tool-call.test.ts`];
const worker = `${server}/tools/sources/worker/worker-call.ts`;
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
];
