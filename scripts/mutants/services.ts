import { type Mutant, server } from './mutant.ts';

const definitionTests = [`${server}/control/followed-definitions.test.ts`];
const modelCallTests = [`${server}/calls/model-call.test.ts`];
const toolCallTests = [`${server}/calls/tool-call.test.ts`];
const directTests = [`${server}/calls/direct-tool.test.ts`];
const approvalTests = [`${server}/control/approvals.test.ts`];
const sessionTests = ['test/e2e/sessions.test.ts'];
const executionTests = [`${server}/tools/service.test.ts`];
const decodeTests = [`${server}/llm/dialects/decode.test.ts`];
const answerTests = [`${server}/llm/transport/answer.test.ts`];
const routingTests = [`${server}/llm/routing/next.test.ts`];
const accountTests = [`${server}/llm/attempt/account.test.ts`];
const overrunTests = [`${server}/llm/overrun.test.ts`];
const boundTests = [`${server}/llm/tokens/bound.test.ts`];
const receivedTests = [`${server}/llm/tokens/received.test.ts`];

const encodeTests = [`${server}/llm/dialects/encode.test.ts`];
const resendTests = [`${server}/llm/providers/resend.test.ts`];

/** Of `identity`, `llm`, `tools`, `calls` and `control`. */
export const serviceMutants: readonly Mutant[] = [
  {
    bug: 'the bound of a text is its bytes in the form that it came in',
    file: `${server}/llm/tokens/bound.ts`,
    replace: "Math.max(bytes, Buffer.byteLength(text.normalize('NFKC')))",
    by: 'bytes',
    tests: boundTests,
  },
  {
    bug: 'what came since a count is taken at half its bytes',
    file: `${server}/llm/tokens/counts.ts`,
    replace: 'since += boundMessageTokens(target, message);',
    by: 'since += boundMessageTokens(target, message) / 4;',
    tests: boundTests,
  },
  {
    bug: 'a count is believed below what the words have at least',
    file: `${server}/llm/tokens/counts.ts`,
    replace: 'Math.max(counted, leastInputTokens(request)) + slackTokens',
    by: 'counted + slackTokens',
    tests: boundTests,
  },
  {
    bug: 'a count holds for other instructions',
    file: `${server}/llm/tokens/counts.ts`,
    replace: 'const parts = [provider, model, system];',
    by: 'const parts = [provider, model];',
    tests: boundTests,
  },
  {
    bug: 'an input that is said to be less than its words is believed',
    file: `${server}/llm/attempt/account.ts`,
    replace: 'said < leastInputTokens(request) ? Math.max(said, inputTokens) : said',
    by: 'said',
    tests: accountTests,
  },
  {
    bug: 'an estimate is charged beyond the limit',
    file: `${server}/llm/attempt/account.ts`,
    replace: 'return Math.min(most, streamedTokens + unseen);',
    by: 'return streamedTokens + unseen;',
    tests: accountTests,
  },
  {
    bug: 'a budget refuses without having the input counted',
    file: `${server}/calls/input-count.ts`,
    replace: 'return inputCounts.bound(target, request) < inputTokens;',
    by: 'return false;',
    tests: ['test/e2e/budgets.test.ts'],
  },
  {
    bug: 'a counter that fails is asked again at once',
    file: `${server}/llm/transport/http-provider.ts`,
    replace: 'if (!signal.aborted) restsUntil = clock.monotonic() + countRestMs;',
    by: '',
    tests: [`${server}/llm/providers/counters.test.ts`],
  },
  {
    bug: 'a server that ignores its limit is read to the end',
    file: `${server}/llm/transport/http-provider.ts`,
    replace: 'overran = tokens.least > maxOutputTokens;',
    by: 'overran = false;',
    tests: overrunTests,
  },
  {
    bug: 'what arrives together with the end of the grant is read on',
    file: `${server}/llm/transport/http-provider.ts`,
    replace: '      if (overran) return;\n',
    by: '',
    tests: overrunTests,
  },
  {
    bug: 'the arguments of calls are not counted',
    file: `${server}/llm/transport/http-provider.ts`,
    replace: 'onArguments: came,',
    by: 'onArguments: () => undefined,',
    tests: overrunTests,
  },
  {
    bug: 'an answer that ends at its limit is taken for one beyond it',
    file: `${server}/llm/transport/http-provider.ts`,
    replace: 'tokens.least > maxOutputTokens',
    by: 'tokens.least >= maxOutputTokens',
    tests: overrunTests,
  },
  {
    bug: 'numbers count less than their tokens allow for certain',
    file: `${server}/llm/tokens/received.ts`,
    replace: 'const inNumber = 1 / 3;',
    by: 'const inNumber = 1 / 2;',
    tests: receivedTests,
  },
  {
    bug: 'a broken gateway is taken for a refusal',
    file: `${server}/llm/attempt/account.ts`,
    replace: 'status >= 400 && status < 500 && status !== 408',
    by: 'status >= 400 && status !== 408',
    tests: accountTests,
  },
  {
    bug: 'a model that may think unseen is charged for what was seen',
    file: `${server}/llm/attempt/account.ts`,
    replace: 'target.thinksUnseen || ',
    by: '',
    tests: accountTests,
  },
  {
    bug: 'an account that says less than was received is believed',
    file: `${server}/llm/attempt/account.ts`,
    replace: 'outputTokens: Math.max(usage.outputTokens, receivedTokens),',
    by: 'outputTokens: usage.outputTokens,',
    tests: accountTests,
  },
  {
    bug: 'a revoked key is accepted',
    file: `${server}/identity/keys.ts`,
    replace: 'row.revokedAt !== null || ',
    by: '',
    tests: sessionTests,
  },
  {
    bug: 'an expired key is accepted',
    file: `${server}/identity/keys.ts`,
    replace: ' || (row.expiresAt !== null && row.expiresAt <= clock.now())',
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
    bug: 'an attempt is repeated after text was seen',
    file: `${server}/llm/routing/next.ts`,
    replace: "  if (question.sawText) return { type: 'none' };\n",
    by: '',
    tests: routingTests,
  },
  {
    bug: 'Retry-After is undercut',
    file: `${server}/llm/routing/next.ts`,
    replace: 'Math.max(backoffMs, askedMs)',
    by: 'Math.min(policy.maxDelayMs, Math.max(backoffMs, askedMs))',
    tests: routingTests,
  },
  {
    bug: 'an attempt begins after the time of the call',
    file: `${server}/llm/routing/next.ts`,
    replace: 'delayMs < remainingMs ? delayMs : null',
    by: 'delayMs',
    tests: routingTests,
  },
  {
    bug: 'a blank answer is sent back',
    file: `${server}/llm/dialects/normalise.ts`,
    replace: "    if (part.type === 'text') return !isBlank(part.text);\n",
    by: "    if (part.type === 'text') return part.text !== '';\n",
    tests: encodeTests,
  },
  {
    bug: 'one model is given the reasoning of another',
    file: `${server}/llm/dialects/normalise.ts`,
    replace: 'givenBy?.provider === recipient.provider && givenBy.model === recipient.model',
    by: 'givenBy?.provider === recipient.provider',
    tests: encodeTests,
  },
  {
    bug: 'thinking is moved away from where its proof holds',
    file: `${server}/llm/dialects/normalise.ts`,
    replace: "part.type === 'reasoning' && part.givenBy === undefined;",
    by: "part.type === 'reasoning';",
    tests: encodeTests,
  },
  {
    bug: 'a request that is sent again has the whole time once more',
    file: `${server}/llm/providers/resend.ts`,
    replace: 'stream = send(remainingMs);',
    by: 'stream = send(call.timeoutMs);',
    tests: resendTests,
  },
  {
    bug: 'half a character leaves in a delta',
    file: `${server}/llm/dialects/assembler.ts`,
    replace: 'const cutsOff = isHighHalf(text.charCodeAt(text.length - 1));',
    by: 'const cutsOff = false;',
    tests: decodeTests,
  },
  {
    bug: 'content of an unknown type vanishes from an answer',
    file: `${server}/llm/dialects/parts.ts`,
    replace: 'if (known === undefined) throw',
    by: 'if (known === undefined) return;\n  if (known === null) throw',
    tests: decodeTests,
  },
  {
    bug: 'a second call of the same tool is joined to the first',
    file: `${server}/llm/dialects/openai-chat/calls.ts`,
    replace: "return !whole || (!foreignId && piece.trim() === '');",
    by: 'return true;',
    tests: decodeTests,
  },
  {
    bug: 'half an account is billed',
    file: `${server}/llm/dialects/usage.ts`,
    replace: 'usage.completion_tokens ?? rest(total, usage.prompt_tokens)',
    by: 'usage.completion_tokens ?? 0',
    tests: answerTests,
  },
  {
    bug: 'a compressed answer may grow without a bound',
    file: `${server}/llm/transport/answer.ts`,
    replace: 'if (received > maxBytes) {',
    by: 'if (received > maxBytes * 1_000) {',
    tests: answerTests,
  },
  {
    bug: 'a tool that was told to stop may take for ever',
    file: `${server}/tools/execution/running-call.ts`,
    replace: "this.#cancelTimer = this.#environment.timers.after(this.#environment.graceMs, () => this.#conclude({ type: 'silent' }));",
    by: '',
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
    replace: 'if (text.length <= maxChars) return text;',
    by: 'if (text.length <= maxChars + 1) return text;',
    tests: [`${server}/tools/execution/bounds.test.ts`],
  },
  {
    bug: 'an output that just fits is cut',
    file: `${server}/tools/execution/bounds.ts`,
    replace: 'if (text.length <= maxChars) return text;',
    by: 'if (text.length < maxChars) return text;',
    tests: [`${server}/tools/execution/bounds.test.ts`],
  },
  {
    bug: 'the answer to one attempt lets another attempt touch something',
    file: `${server}/tools/execution/running-call.ts`,
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
    replace: 'timeoutMs);\n  await store.commit({\n',
    by: "timeoutMs);\n  if (end.type === 'completed') await store.commit({\n",
    tests: directTests,
  },
  {
    bug: 'an approval is answered without the role that it asks for',
    file: `${server}/control/approvals.ts`,
    replace: "row.role !== null && !principal.roles.includes(row.role) && !principal.roles.includes('owner')",
    by: 'row.role !== row.role',
    tests: approvalTests,
  },
  {
    bug: 'an approval is answered after its deadline',
    file: `${server}/control/approvals.ts`,
    replace: 'if (row.deadlineAt <= clock.now())',
    by: 'if (row.deadlineAt <= 0)',
    tests: approvalTests,
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
    bug: 'context: a request that is larger than what may be asked in a minute is tried again and again',
    file: `${server}/llm/dialects/overflow.ts`,
    replace: 'return tooLargeForRate.test(message) ? told() : null;',
    by: 'return null;',
    tests: [`${server}/llm/dialects/overflow.test.ts`],
  },
  {
    bug: 'context: a model that is not served takes the others of its list with it',
    file: `${server}/llm/catalogue.ts`,
    replace: 'if (found.length === 0 && fault !== undefined) throw fault.error;',
    by: 'if (fault !== undefined) throw fault.error;',
    tests: [`${server}/llm/service.test.ts`],
  },
];
