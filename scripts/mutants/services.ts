import { type Mutant, server } from './mutant.ts';

const definitionTests = [`${server}/control/followed-definitions.test.ts`];
const modelCallTests = [`${server}/calls/model-call.test.ts`];
const toolCallTests = [`${server}/calls/tool-call.test.ts`];
const directTests = [`${server}/calls/direct-tool.test.ts`];
const approvalTests = [`${server}/control/approvals.test.ts`];
const sessionTests = ['test/e2e/sessions.test.ts'];
const executionTests = [`${server}/tools/service.test.ts`];
const modelSetupTests = [`${server}/apps/models.test.ts`];

/** Of `identity`, `tools`, `calls` and `control`. */
export const serviceMutants: readonly Mutant[] = [
  {
    bug: 'a budget refuses without having the input counted',
    file: `${server}/calls/input-count.ts`,
    replace: 'return inputCounts.bound(asked) < inputTokens;',
    by: 'return false;',
    tests: ['test/e2e/budgets.test.ts'],
  },
  {
    bug: 'a paid tool that says nothing of its cost is free',
    file: `${server}/tools/execution/outcome.ts`,
    replace: 'const { costMicroUsd: cost = Number.NaN } = result;',
    by: 'const { costMicroUsd: cost = 0 } = result;',
    tests: [`${server}/tools/service.test.ts`],
  },
  {
    bug: 'writing to the cache costs no more than the input where no price says so',
    file: `${server}/apps/models.ts`,
    replace: "ref.startsWith('anthropic/') ? 1.25 : 1",
    by: '1',
    tests: modelSetupTests,
  },
  {
    bug: 'a revoked key is accepted',
    file: `${server}/identity/keys.ts`,
    replace: 'return revokedAt === null && (',
    by: 'return (',
    tests: sessionTests,
  },
  {
    bug: 'an expired key is accepted',
    file: `${server}/identity/keys.ts`,
    replace: ' && (expiresAt === null || expiresAt > clock.now())',
    by: '',
    tests: sessionTests,
  },
  {
    bug: 'the secret of a key is not compared',
    file: `${server}/identity/keys.ts`,
    replace: 'a.length === b.length && timingSafeEqual(a, b)',
    by: 'a.length === b.length',
    tests: sessionTests,
  },
  {
    bug: "an idempotency key gives one caller another's answer",
    file: `${server}/identity/idempotency.ts`,
    replace: '[what, principal.id, request]',
    by: '[what, request]',
    tests: ['test/e2e/tenants.test.ts'],
  },
  {
    bug: 'a tool that was told to stop may take for ever',
    file: `${server}/tools/execution/running-call.ts`,
    replace: "else if (this.#state === 'calling') this.#conclude({ type: 'silent' });",
    by: "else if (this.#state === 'calling') return;",
    tests: executionTests,
  },
  {
    bug: 'the result of a tool that was given up is used',
    file: `${server}/tools/execution/running-call.ts`,
    replace: "if (this.#state !== 'calling' || this.#tool === undefined) return;",
    by: 'if (this.#tool === undefined) return;',
    tests: executionTests,
  },
  {
    bug: 'an output of one character too many is let through',
    file: `${server}/tools/execution/bounds.ts`,
    replace: 'return text.length <= maxChars ?',
    by: 'return text.length <= maxChars + 1 ?',
    tests: [`${server}/tools/execution/bounds.test.ts`],
  },
  {
    bug: 'an output that just fits is cut',
    file: `${server}/tools/execution/bounds.ts`,
    replace: 'return text.length <= maxChars ?',
    by: 'return text.length < maxChars ?',
    tests: [`${server}/tools/execution/bounds.test.ts`],
  },
  {
    bug: 'the answer to one attempt lets another attempt touch something',
    file: `${server}/tools/execution/questions.ts`,
    replace: ' || answer.attempt !== attempt) return;',
    by: ') return;',
    tests: executionTests,
  },
  {
    bug: 'progress is shown after the call is over',
    file: `${server}/tools/execution/running-call.ts`,
    replace: '    if (!this.#controller.signal.aborted) this.#abort(callIsOver);\n',
    by: '',
    tests: executionTests,
  },
  {
    bug: 'a tool may touch something before the decision is written',
    file: `${server}/calls/tool-call.ts`,
    replace: '    await engine.store.commit({ tenantId: charge.tenantId, decisions: [decision.row] });\n',
    by: '    void engine.store.commit({ tenantId: charge.tenantId, decisions: [decision.row] }).catch(() => undefined);\n',
    tests: toolCallTests,
  },
  {
    bug: 'what cannot be decided is allowed',
    file: `${server}/calls/tool-call.ts`,
    replace: 'return { allowed: false, error: toErrorInfo(error) };',
    by: 'return { allowed: true };',
    tests: toolCallTests,
  },
  {
    bug: 'the cap of an obligation is ignored',
    file: `${server}/calls/model-attempt.ts`,
    replace: 'Math.min(asked, ...caps)',
    by: 'asked',
    tests: ['test/e2e/policy-paths.test.ts'],
  },
  {
    bug: 'failures that were handed over are settled twice',
    file: `${server}/calls/model-call.ts`,
    replace: '    untold.failures = [];\n',
    by: '',
    tests: modelCallTests,
  },
  {
    bug: 'a direct call takes effect before it is reserved',
    file: `${server}/calls/direct-tool.ts`,
    replace: '  const plan = () => reserveTool(',
    by: `  const early = { tool, input: checked.input, callId, attempt: 1, idempotencyKey: callId, timeoutMs: tool.timeoutMs };
  await performTool(engine, charge, early, { signal, onOutput: () => undefined });
  const plan = () => reserveTool(`,
    tests: directTests,
  },
  {
    bug: 'a direct call that fails is not settled',
    file: `${server}/calls/direct-tool.ts`,
    replace: 'const end = await commit(given).then(',
    by: "const end = await (given.type === 'completed' ? commit(given) : Promise.resolve()).then(",
    tests: directTests,
  },
  {
    bug: 'an approval is answered without the role that it asks for',
    file: `${server}/control/approvals.ts`,
    replace: "role !== undefined && !principal.roles.includes(role) && !principal.roles.includes('owner')",
    by: 'row.role !== row.role',
    tests: approvalTests,
  },
  {
    bug: 'an approval is answered after its deadline',
    file: `${server}/control/approvals.ts`,
    replace: 'if (row.deadlineAt <= clock.now() && row.deadlineAt <= (await store.now()))',
    by: 'if (row.deadlineAt <= 0)',
    tests: approvalTests,
  },
  {
    bug: 'an approval is late by the clock of whoever is asked',
    file: `${server}/control/approvals.ts`,
    replace: ' && row.deadlineAt <= (await store.now())',
    by: '',
    tests: approvalTests,
  },
  {
    bug: 'a call without a run expires by the clock of its process',
    file: `${server}/storage/commit/ledger.ts`,
    replace: 'expiresAt: databaseNowMs + operation.lifeMs',
    by: 'lifeMs: operation.lifeMs',
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'files begin in a session that is gone',
    file: `${server}/storage/tables/files.ts`,
    replace: 'if ((yield* lockSessions(tenantId, [sessionId])).length === 0)',
    by: 'if (sessionId.length === 0)',
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'the text of a call that is made again goes on behind the first',
    file: 'packages/sdk/src/text.ts',
    replace: "        case 'model.started':\n",
    by: '',
    tests: ['packages/sdk/src/sdk.test.ts'],
  },
  {
    bug: 'nobody is woken by the answer to an approval',
    file: `${server}/control/approvals.ts`,
    replace: '      wake({ tenantId: principal.tenantId, runId: row.runId });\n',
    by: '',
    tests: approvalTests,
  },
  {
    bug: 'policy is not asked whether a person may decide',
    file: `${server}/control/approvals.ts`,
    replace: "if (decision.record.effect === 'allow') return decision.row;",
    by: 'return decision.row;',
    tests: approvalTests,
  },
  {
    bug: 'nodes: a folder is read while it changes',
    file: `${server}/control/followed-definitions.ts`,
    replace: 'const whole = mark === (await folder.mark());',
    by: 'const whole = (await folder.mark()) !== null;',
    tests: definitionTests,
  },
  {
    bug: 'nodes: an empty folder takes everything away',
    file: `${server}/control/followed-definitions.ts`,
    replace: "files.length === 0 && again !== 'always' &&",
    by: "files.length === 0 && again === 'always' &&",
    tests: definitionTests,
  },
  {
    bug: 'limits: a call that ended keeps its place',
    file: `${server}/tools/execution/tool-gates.ts`,
    replace: 'if (isOver) return;',
    by: 'if (!isOver) return;',
    tests: [`${server}/tools/execution/limits.test.ts`],
  },
  {
    bug: 'limits: a tool is blamed for a call that was cancelled',
    file: `${server}/tools/execution/verdict.ts`,
    replace: 'if (signal.aborted && ',
    by: 'if (!signal.aborted && ',
    tests: [`${server}/tools/execution/limits.test.ts`],
  },
  {
    bug: 'limits: what was let through before a breaker opened closes it',
    file: `${server}/core/breaker.ts`,
    replace: 'pass.epoch !== state.epoch || ',
    by: '',
    tests: [`${server}/core/breaker.test.ts`],
  },
];
