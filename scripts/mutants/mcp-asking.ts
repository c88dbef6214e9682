import { type Mutant, server } from './mutant.ts';

const mcp = `${server}/tools/sources/mcp`;
const tests = ['test/e2e/mcp-asking.test.ts'];

/** Of MCP servers that ask in the midst of a call. */
export const mcpAskingMutants: readonly Mutant[] = [
  {
    bug: 'asking: what is left of the time of a call runs while a person is asked',
    file: `${mcp}/asking-call.ts`,
    replace: 'const leftMs = Math.max(1_000, this.#limitMs - (this.#parts.clock.monotonic() - this.#startedAt));',
    by: 'const leftMs = 0;',
    tests,
  },
  {
    bug: 'asking: a server is waited for without end after the answer',
    file: `${mcp}/asking-call.ts`,
    replace: 'const cancel = this.#parts.timers.after(this.#limitMs, () => late.abort(error));',
    by: 'const cancel = this.#parts.timers.after(2 ** 31, () => late.abort(error));',
    tests,
  },
  {
    bug: 'asking: calls side by side share a conversation',
    file: `${mcp}/source.ts`,
    replace: 'const isAlone = asksOf(offersOf(definition)).length > 0;',
    by: 'const isAlone = asksOf(offersOf(definition)).length > 9;',
    tests,
  },
  {
    bug: 'asking: a lost conversation is begun anew, though it may have taken effect',
    file: `${mcp}/asking-call.ts`,
    replace: "if (!isRetried && tool.effects === 'once')",
    by: "if (isRetried && tool.effects === 'once')",
    tests: ['test/chaos/asking.test.ts'],
  },
  {
    bug: 'asking: the answers of one round go to the server without what it gave to go on from',
    file: `${mcp}/asking-call.ts`,
    replace: 'return { inputResponses: Object.fromEntries(entries), ...(requestState === undefined ? {} : { requestState }) };',
    by: 'return { inputResponses: Object.fromEntries(entries), ...(requestState === undefined ? { requestState: "" } : {}) };',
    tests,
  },
  {
    bug: 'asking: rounds have no end',
    file: `${mcp}/asking-call.ts`,
    replace: 'if (this.#rounds > maxRounds)',
    by: 'if (this.#rounds > maxRounds * 9)',
    tests,
  },
  {
    bug: 'asking: a server may ask when no call is under way',
    file: `${mcp}/asked.ts`,
    replace: 'if (listening === null)',
    by: 'if (listening === null && refusals > 9)',
    tests,
  },
  {
    bug: 'asking: whoever declines is said to have gone away',
    file: `${mcp}/wanted.ts`,
    replace: "=== 'approval_denied'",
    by: "=== 'approval_expired'",
    tests,
  },
  {
    bug: 'asking: an address of any kind is shown to people',
    file: `${mcp}/elicitation.ts`,
    replace: "if (url.protocol !== 'https:' && !(",
    by: "if (url.protocol !== 'https:' && url.protocol !== 'javascript:' && !(",
    tests,
  },
  {
    bug: 'asking: an answer that fits no form is taken',
    file: `${server}/control/approvals.ts`,
    replace: "if (read.type === 'unfit')",
    by: "if (read.type === 'unfit' && read.faults.length > 9)",
    tests,
  },
  {
    bug: 'asking: a tool that may ask has any tool called',
    file: `${server}/tools/execution/outcome.ts`,
    replace: 'tool.asks?.includes(name) === true',
    by: 'tool.asks !== undefined',
    tests: [`${server}/runs/drive/asked-calls.test.ts`],
  },
  {
    bug: 'asking: a conversation outlives its run',
    file: `${mcp}/held-calls.ts`,
    replace: "if (isOver) end(id, new NexusError('cancelled', 'the run has ended'));",
    by: 'if (isOver) continue;',
    tests,
  },
];
