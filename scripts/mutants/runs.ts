import { type Mutant, server } from './mutant.ts';

const runs = `${server}/runs`;
const stoppingTests = [`${runs}/drive/stopping.test.ts`];
const writerTests = [`${runs}/drive/writer.test.ts`];
const attemptTests = [`${runs}/drive/attempts.test.ts`];
const executorTests = [`${runs}/drive/executor.test.ts`];
const workerTests = [`${runs}/dispatch/worker.test.ts`];
const startTests = [`${runs}/start/start-run.test.ts`];
const storage = `${server}/storage`;
const logTests = [`${runs}/start/session-log.test.ts`];
const hubTests = [`${runs}/stream/hub.test.ts`];

export const runMutants: readonly Mutant[] = [
  {
    bug: 'a call that ends while a round is put together is forgotten',
    file: `${server}/runs/drive/executor.ts`,
    replace: 'const underWay = new Set(inFlight.keys());',
    by: 'const underWay = inFlight;',
    tests: [`${server}/runs/dispatch/worker.test.ts`],
  },
  {
    bug: 'a cancel does not go before a failure',
    file: `${runs}/drive/stopping.ts`,
    replace: "(this.#why?.type === 'fail' && next.type !== 'cancel')",
    by: "this.#why?.type === 'fail'",
    tests: stoppingTests,
  },
  {
    bug: 'the grace of effects begins again each time they are told to stop',
    file: `${runs}/drive/stopping.ts`,
    replace: '#stopBy ??= clock',
    by: '#stopBy = clock',
    tests: stoppingTests,
  },
  {
    bug: 'the state moves on although the store did not take the change',
    file: `${runs}/drive/writer.ts`,
    replace: "    if (result.type !== 'committed') return result;\n",
    by: `    if (result.type !== 'committed') {
      const early = proposal.events([]).map((event, index) => ({ ...event, seq: lastSeq + 1 + index, at: 0 }) as JournalEvent);
      this.#state = fold(early, state);
      return result;
    }\n`,
    tests: writerTests,
  },
  {
    bug: 'a write carries the totals of the round before it',
    file: `${runs}/steps/proposal.ts`,
    replace: 'return after.totals;',
    by: 'return state.totals;',
    tests: [`${runs}/drive/totals.test.ts`],
  },
  {
    bug: 'what a budget refused begins all the same',
    file: `${runs}/drive/asking.ts`,
    replace: "  if (result.type === 'refused') return writeSingly(parts, before, round.starts);\n",
    by: `  if (result.type === 'refused') {
    for (const start of round.starts) begin(start, undefined);
    return writeSingly(parts, before, []);
  }\n`,
    tests: ['test/e2e/budgets.test.ts'],
  },
  {
    bug: 'a start that is refused by itself begins all the same',
    file: `${runs}/drive/asking.ts`,
    replace: "    if (result.type === 'committed') {\n      begin(start, result.outcomes[0]);\n      continue;\n    }\n",
    by: "      begin(start, undefined);\n      if (result.type === 'committed') continue;\n",
    tests: ['test/e2e/budgets.test.ts'],
  },
  {
    bug: 'a run that was given up is waited for',
    file: `${runs}/drive/executor.ts`,
    replace: "      if (abandoned) return 'lost';\n",
    by: '',
    tests: executorTests,
  },
  {
    bug: 'the timer of the deadline outlives the run',
    file: `${runs}/drive/executor.ts`,
    replace: '      cancelDeadline?.();\n',
    by: '',
    tests: executorTests,
  },
  {
    bug: 'a budget that is used up stops what was paid for',
    file: `${runs}/drive/asking.ts`,
    replace: 'stopping.after(budgetStop(result.refusal, start.effect.type, waitedMs));',
    by: 'stopping.request(budgetStop(result.refusal, start.effect.type, waitedMs));',
    tests: executorTests,
  },
  {
    bug: 'a run that is taken up after its deadline goes on',
    file: `${runs}/drive/executor.ts`,
    replace: '      if (leftMs !== null && leftMs <= 0) onDeadline();\n',
    by: '',
    tests: executorTests,
  },
  {
    bug: 'what became of a tool that must not be repeated is not asked',
    file: `${runs}/drive/tool-end.ts`,
    replace: "end.error.code === 'tool_outcome_unknown' && !stopped",
    by: "end.error.code === 'tool_outcome_unknown' && stopped",
    tests: ['test/e2e/approvals.test.ts'],
  },
  {
    bug: 'failures of a call are not written when the run is stopping',
    file: `${runs}/drive/attempts.ts`,
    replace:
      "    if (request.failures.length > 0 && (await writer.commit(failures)).type !== 'committed') return 'lost';\n    answer({ type: 'refused', error: stoppingError, final: true });",
    by: "    answer({ type: 'refused', error: stoppingError, final: true });",
    tests: attemptTests,
  },
  {
    bug: 'an attempt is granted before it is written',
    file: `${runs}/drive/attempts.ts`,
    replace: '  const result = await writer.commit(merge([before, proposeModelAttempt(planned.attempt)]));\n',
    by: `  answer({ type: 'granted', granted: { attempt: planned.attempt, grant: modelGrant(planned.attempt, undefined), seq: writer.state.lastSeq } });
  const result = await writer.commit(merge([before, proposeModelAttempt(planned.attempt)]));\n`,
    tests: attemptTests,
  },
  {
    bug: 'an attempt is granted the outcome of another operation',
    file: `${runs}/drive/attempts.ts`,
    replace: 'result.outcomes[before.ledger.length]',
    by: 'result.outcomes[0]',
    tests: attemptTests,
  },
  {
    bug: 'an attempt that was sent is released instead of settled',
    file: `${runs}/drive/model-outcome.ts`,
    replace: 'sent ? settle(reserve.reservationId, modelAmounts(attempt, grant, usage, durationMs)) : release(reserve.reservationId)',
    by: 'release(reserve.reservationId)',
    tests: attemptTests,
  },
  {
    bug: 'a place that a refused run held stays taken',
    file: `${runs}/service.ts`,
    replace: '      leave?.();\n',
    by: '',
    tests: workerTests,
  },
  {
    bug: 'the sub-agents of a cancelled run go on',
    file: `${runs}/cancel.ts`,
    replace: '    for (const child of page.items) await cancelRun({ store, wake }, child, reason);\n',
    by: '    void reason;\n',
    tests: ['test/e2e/budgets.test.ts'],
  },
  {
    bug: 'a run that may have been written is not reported',
    file: `${runs}/start/begin-run.ts`,
    replace: "      return { type: 'in_doubt', runId: draft.row.runId, error };\n",
    by: '      throw error;\n',
    tests: startTests,
  },
  {
    bug: 'a run is started again by the same idempotency key',
    file: `${runs}/start/start-run.ts`,
    replace: "    ...claimOf(principal, options, 'run', request, runId),\n",
    by: '',
    tests: ['test/e2e/sessions.test.ts'],
  },
  {
    bug: 'a fork is made again by the same idempotency key',
    file: `${runs}/start/fork-run.ts`,
    replace: '...claimOf(principal, options,',
    by: '...claimOf(principal, {},',
    tests: ['test/e2e/sessions.test.ts'],
  },
  {
    bug: 'a run begins in a session that is closed at the same time',
    file: `${runs}/start/start-run.ts`,
    replace: '{ openSession: sessionId }',
    by: '{}',
    tests: startTests,
  },
  {
    bug: 'a sub-agent that is written after the cancel of its parent goes on',
    file: `${runs}/start/start-child.ts`,
    replace: '    await store.requestCancel(parent.tenantId, runId, parentRow.cancelRequested);\n',
    by: '    return true;\n',
    tests: [`${runs}/start/start-child.test.ts`],
  },
  {
    bug: 'what a summary stands for is forgotten when it goes on later',
    file: `${runs}/journal/log-view.ts`,
    replace: '    else if (turn.isOpen) covered.push(turn.read);\n',
    by: '',
    tests: logTests,
  },
  {
    bug: 'a run that went on after it was read is not read again',
    file: `${runs}/journal/session-log.ts`,
    replace: 'row.lastSeq !== read.seq',
    by: 'row.lastSeq < read.seq',
    tests: logTests,
  },
  {
    bug: 'the work that a fork copied is told twice',
    file: `${runs}/journal/turn.ts`,
    replace: '(this.#copied ?? state.messages.length) : 1',
    by: '1 : 1',
    tests: logTests,
  },
  {
    bug: 'a run is written that has not read the run before it',
    file: `${storage}/commit/session-log.ts`,
    replace: 'place.after !== undefined && place.after !== newest.runId',
    by: 'place.after === newest.createdAt.toString()',
    tests: ['test/conformance/storage.test.ts'],
  },
  {
    bug: 'the next run of a session begins while sub-agents still work for the one before',
    file: `${storage}/commit/session-log.ts`,
    replace: '        if (open.some((run) => sessions.isAtWork(run))) return;\n',
    by: '        if (open.some((run) => run.parent_run_id === null && sessions.isAtWork(run))) return;\n',
    tests: [`${runs}/start/queue.test.ts`],
  },
  {
    bug: 'a run that waits for a person keeps its session',
    file: `${runs}/steps/round.ts`,
    replace: ', leaves: context.sessionId',
    by: '',
    tests: [`${runs}/start/queue.test.ts`],
  },
  {
    bug: 'a piece of text ends within a pair of surrogates',
    file: `${runs}/stream/pieces.ts`,
    replace: '    if (isPair) index += 1;\n',
    by: '',
    tests: [`${runs}/stream/pieces.test.ts`],
  },
  {
    bug: 'a piece of text is taken although something before it is missing',
    file: `${runs}/stream/live-text.ts`,
    replace: '  if (chunk.offset > live.length) return false;\n',
    by: '',
    tests: hubTests,
  },
  {
    bug: 'the interest of a reader elsewhere never expires',
    file: `${runs}/stream/remote.ts`,
    replace: 'until !== undefined && until > clock.monotonic()',
    by: 'until !== undefined',
    tests: hubTests,
  },
  {
    bug: 'a reader is given a tail that begins after its place',
    file: `${runs}/stream/channel.ts`,
    replace: ' || first.seq > seq + 1',
    by: '',
    tests: hubTests,
  },
  {
    bug: 'a tail goes on over events of another process',
    file: `${runs}/stream/channel.ts`,
    replace: 'if ((this.#tail.at(-1)?.seq ?? 0) + 1 !== event.seq) {',
    by: 'if (this.#tail.length === 0) {',
    tests: hubTests,
  },
  {
    bug: 'text that was held back is lost when the driver leaves',
    file: `${runs}/stream/local.ts`,
    replace: '    this.flush();\n    this.#options.onClose();\n',
    by: '    this.#options.onClose();\n',
    tests: hubTests,
  },
  {
    bug: 'a timer hands text on after the driver has left',
    file: `${runs}/stream/local.ts`,
    replace: '    this.#cancelFlush?.();\n',
    by: '',
    tests: hubTests,
  },
  {
    bug: 'a reader is given the batch of before again, without the text that came since',
    file: `${runs}/stream/shared.ts`,
    replace: ' && this.#liveLength === (live?.length ?? 0)',
    by: '',
    tests: [`${runs}/stream/readers.test.ts`],
  },
  {
    bug: 'a reader at another place is given the batch of the others',
    file: `${runs}/stream/shared.ts`,
    replace: ' || known.offset !== offset',
    by: '',
    tests: [`${runs}/stream/readers.test.ts`],
  },
  {
    bug: 'a reader that waits hears of nothing before its time is up',
    file: `${runs}/stream/bell.ts`,
    replace: '    answer();\n  }\n  function look',
    by: '  }\n  function look',
    tests: [`${runs}/stream/follow.test.ts`],
  },
  {
    bug: 'an end that was written here is the end also for who comes after another process has taken the run up again',
    file: `${runs}/stream/follow.ts`,
    replace: ' && cameAt <= place.seq',
    by: '',
    tests: [`${runs}/stream/readers.test.ts`],
  },
  {
    bug: 'a follower that leaves is not released',
    file: `${runs}/stream/follow.ts`,
    replace: '    bell.close();\n    release();\n',
    by: '    bell.close();\n',
    tests: [`${runs}/stream/follow.test.ts`],
  },
  {
    bug: 'a change that was written unheard is taken for one of another worker',
    file: `${runs}/drive/writer.ts`,
    replace: "answer.type === 'fenced' && attempts > 1 ?",
    by: "answer.type === 'fenced' && attempts > 1_000 ?",
    tests: writerTests,
  },
  {
    bug: 'what another worker made of a run is taken for what was written unheard',
    file: `${runs}/drive/unheard.ts`,
    replace: ' || row.epoch !== fence.epoch',
    by: '',
    tests: [`${runs}/drive/unheard.test.ts`],
  },
  {
    bug: 'a run drops what it paid for at the first answer that the store owes',
    file: `${runs}/drive/patience.ts`,
    replace: 'if (isUnwritable(error) || isFull(error) || !mayGoOn(clock.monotonic() - startedMs)) throw error;',
    by: 'throw error;',
    tests: writerTests,
  },
  {
    bug: 'context: a call that was too long is not made again',
    file: `${runs}/drive/facts.ts`,
    replace: 'stopping.why === null && !mayFit(state, outcome)',
    by: 'stopping.why === null',
    tests: [`${runs}/drive/context.test.ts`, 'test/e2e/context.test.ts'],
  },
  {
    bug: 'context: what a run learned of a model is forgotten by whoever goes on with it',
    file: `${runs}/journal/transitions.ts`,
    replace: 'const contexts = { ...state.contexts, [name]: Math.min(data.contextTokens, most) };',
    by: 'const contexts = state.contexts ?? {};',
    tests: [`${runs}/drive/context.test.ts`],
  },
  {
    bug: 'context: each result is cut to what all of them may have together',
    file: `${runs}/steps/shorten.ts`,
    replace: 'if (size > share) return share;',
    by: 'if (size > share) return total;',
    tests: [`${runs}/steps/shorten.test.ts`, 'test/e2e/context.test.ts'],
  },
  {
    bug: 'context: an answer is asked to be longer than what is left of the model',
    file: `${runs}/steps/model-plan.ts`,
    replace: 'left < call.request.maxOutputTokens ?',
    by: 'left < 0 ?',
    tests: ['test/e2e/context.test.ts'],
  },
];
