import { type Mutant, server } from './mutant.ts';

const worker = `${server}/tools/sources/worker`;
const table = `${server}/storage/tables/tool-calls.ts`;
const sdk = 'packages/sdk/src/tools';
const endToEnd = ['test/e2e/tool-workers.test.ts'];
const faults = ['test/e2e/tool-worker-faults.test.ts'];
const kept = ['test/conformance/storage.test.ts'];

/** Of tools that processes of somebody's own serve. */
export const workerMutants: readonly Mutant[] = [
  {
    bug: 'worker: what is said of one delivery stops the next one of the call',
    file: `${sdk}/running-calls.ts`,
    replace: '    if (running?.delivery === delivery) running',
    by: '    if (delivery > 0) running?',
    tests: [`${sdk}/running-calls.test.ts`],
  },
  {
    bug: 'worker: an answer counts under any delivery',
    file: table,
    replace: ".where('delivery', '=', params.delivery)\n      .where('holder', '=', params.worker)",
    by: ".where('holder', '=', params.worker)",
    tests: kept,
  },
  {
    bug: 'worker: a call that is answered is answered again',
    file: table,
    replace: `.set({ status: 'done', answer: params.answer, holder: null, lease_until: null })
      .where('tenant_id', '=', params.tenant)
      .where('call_key', '=', params.key)
      .where('delivery', '=', params.delivery)
      .where('holder', '=', params.worker)
      .where('status', '=', sql.lit('held')),`,
    by: `.set({ status: 'done', answer: params.answer, lease_until: null })
      .where('tenant_id', '=', params.tenant)
      .where('call_key', '=', params.key)
      .where('delivery', '=', params.delivery)
      .where('holder', '=', params.worker),`,
    tests: kept,
  },
  {
    bug: 'worker: a report of a delivery that is over keeps the next one alive',
    file: table,
    replace: 'sql` or `)}) returning',
    by: 'sql` or `)} or true) returning',
    tests: kept,
  },
  {
    bug: 'worker: a call goes to another worker although its lease stands',
    file: table,
    replace: `export function* requeueToolCall(tenant: string, { callKey, delivery }: HeldCall, nowMs: number): Program<boolean> {
  const changed = yield* write(sql\`update tool_calls set status = 'queued', holder = null, lease_until = null
    where tenant_id = \${tenant} and call_key = \${callKey} and delivery = \${delivery} and status = 'held' and lease_until < \${nowMs}\`);`,
    by: `export function* requeueToolCall(tenant: string, { callKey, delivery }: HeldCall, nowMs: number): Program<boolean> {
  const changed = yield* write(sql\`update tool_calls set status = 'queued', holder = null, lease_until = null
    where tenant_id = \${tenant} and call_key = \${callKey} and delivery = \${delivery} and status = 'held' and 0 < \${nowMs}\`);`,
    tests: kept,
  },
  {
    bug: 'worker: every delivery of a call is the first',
    file: table,
    replace: 'delivery = delivery + 1',
    by: 'delivery = 1',
    tests: kept,
  },
  {
    bug: 'worker: calls of one tenant go to workers of another',
    file: table,
    replace: ".select('call_key')\n      .where('tenant_id', '=', params.tenant)",
    by: ".select('call_key')",
    tests: kept,
  },
  {
    bug: 'worker: one that ends at a node is hidden at the next',
    file: table,
    replace: 'workerId} and node_id =',
    by: "workerId} and '' <>",
    tests: kept,
  },
  {
    bug: 'worker: what may take effect once is given to another worker',
    file: `${worker}/worker-call.ts`,
    replace: "if (effects !== 'once' && state.delivery < maxDeliveries && !this.#stopped) {",
    by: 'if (state.delivery < maxDeliveries && !this.#stopped) {',
    tests: endToEnd,
  },
  {
    bug: 'worker: each attempt is a call of its own',
    file: `${worker}/worker-call.ts`,
    replace: 'this.#callKey = context.idempotencyKey;',
    by: "this.#callKey = [context.idempotencyKey, context.attempt].join('/');",
    tests: endToEnd,
  },
  {
    bug: 'worker: a call waits for a worker for ever',
    file: `${worker}/worker-call.ts`,
    replace: "if (state.status === 'queued') return now - this.#queuedAt < this.#target.waitMs ? null : () => this.#leaveQueue();",
    by: "if (state.status === 'queued') return null;",
    tests: endToEnd,
  },
  {
    bug: 'worker: one that has a call is not told that nobody wants it',
    file: `${worker}/desk.ts`,
    replace: 'if (held !== undefined)\n            connection.tell(',
    by: 'if (held === undefined)\n            connection.tell(',
    tests: endToEnd,
  },
  {
    bug: 'worker: one gets more calls than it takes at a time',
    file: `${worker}/connection.ts`,
    replace: 'Math.max(0, this.maxConcurrent - this.held.size)',
    by: 'Math.max(1, this.maxConcurrent - this.held.size)',
    tests: endToEnd,
  },
  {
    bug: 'worker: a page of a proxy ends it',
    file: `${sdk}/serve-tools.ts`,
    replace: 'if (workerId === null ? !isRetryable(error) : isRefusal(error)) throw error;',
    by: 'if (!isRetryable(error)) throw error;',
    tests: faults,
  },
  {
    bug: 'worker: a page of a proxy takes what it did',
    file: `${sdk}/reports.ts`,
    replace: 'if (isRefusal(error)) {',
    by: 'if (!(error instanceof NexusApiError && error.retryable)) {',
    tests: faults,
  },
  {
    bug: 'worker: its waits never become short again',
    file: `${sdk}/serve-tools.ts`,
    replace: 'if (isStable(readyAt)) failures = 1;',
    by: '',
    tests: faults,
  },
  {
    bug: 'worker: heartbeats pile up while the server is away',
    file: `${sdk}/reports.ts`,
    replace: "if (report.type === 'held' && this.#waiting.some((other) => repeats(other, report))) return;",
    by: '',
    tests: faults,
  },
];
