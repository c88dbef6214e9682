import { type Mutant, server } from './mutant.ts';

const runs = `${server}/runs`;
const stoppingTests = [`${runs}/drive/stopping.test.ts`];
const writerTests = [`${runs}/drive/writer.test.ts`];
const attemptTests = [`${runs}/drive/attempts.test.ts`];
const executorTests = [`${runs}/drive/executor.test.ts`];
const dispatchTests = [`${runs}/dispatch/dispatch.test.ts`];
const workerTests = [`${runs}/dispatch/worker.test.ts`];
const startTests = [`${runs}/start/start-run.test.ts`];
const hubTests = [`${runs}/stream/hub.test.ts`];

export const runMutants: readonly Mutant[] = [
  {
    bug: 'a cancel does not go before a failure',
    file: `${runs}/drive/stopping.ts`,
    replace: "why?.type === 'cancel' || (why?.type === 'fail' && next.type !== 'cancel')",
    by: "why?.type === 'cancel' || why?.type === 'fail'",
    tests: stoppingTests,
  },
  {
    bug: 'the grace of effects begins again each time they are told to stop',
    file: `${runs}/drive/stopping.ts`,
    replace: 'stopBy ??= clock',
    by: 'stopBy = clock',
    tests: stoppingTests,
  },
  {
    bug: 'the state moves on before the store has answered',
    file: `${runs}/drive/writer.ts`,
    replace: '      const result = await commitProposal(engine.store, fence, state.lastSeq, whole);\n',
    by: `      const { lastSeq } = state;
      state = { ...state, lastSeq: lastSeq + assumedEvents(proposal).length };
      const result = await commitProposal(engine.store, fence, lastSeq, whole);
      if (result.type === 'committed') state = { ...state, lastSeq };\n`,
    tests: writerTests,
  },
  {
    bug: 'a write carries the totals of the round before it',
    file: `${runs}/drive/writer.ts`,
    replace: 'totals = foldNew(state, assumedEvents(proposal)).totals',
    by: 'totals = state.totals',
    tests: writerTests,
  },
  {
    bug: 'what a budget refused begins all the same',
    file: `${runs}/drive/executor.ts`,
    replace: "    if (result.type === 'refused') return writeSingly(before, round.starts, result.refusal);\n",
    by: `    if (result.type === 'refused') {
      for (const start of round.starts) begin(start, undefined);
      return writeSingly(before, [], result.refusal);
    }\n`,
    tests: ['test/e2e/budgets.test.ts'],
  },
  {
    bug: 'a start that is refused by itself begins all the same',
    file: `${runs}/drive/executor.ts`,
    replace: "      if (result.type === 'committed') {\n        begin(start, result.outcomes[0]);\n        continue;\n      }\n",
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
    bug: 'failures of a call are not written when the run is stopping',
    file: `${runs}/drive/attempts.ts`,
    replace:
      "    if (request.failures.length > 0 && (await writer.commit(failures)).type !== 'committed') return false;\n    answer({ type: 'refused', error: stoppingError, final: true });",
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
    bug: 'a run is given back although it is driven here',
    file: `${runs}/dispatch/undriven.ts`,
    replace: 'if (isDriven(claim)) {',
    by: 'if (isDriven(claim) && claim.epoch < 0) {',
    tests: dispatchTests,
  },
  {
    bug: 'a run is given back that was claimed again at a later epoch',
    file: `${runs}/dispatch/undriven.ts`,
    replace: ' || row.epoch !== epoch',
    by: '',
    tests: dispatchTests,
  },
  {
    bug: 'a run that is driven at another epoch counts as driven',
    file: `${runs}/dispatch/worker.ts`,
    replace: 'live.get(runKey(claim))?.epoch === claim.epoch',
    by: 'live.has(runKey(claim))',
    tests: workerTests,
  },
  {
    bug: 'a claim whose answer was lost is forgotten',
    file: `${runs}/dispatch/claims.ts`,
    replace: '    inDoubt = true;\n',
    by: '',
    tests: dispatchTests,
  },
  {
    bug: 'a lease stands while the machine sleeps',
    file: `${runs}/dispatch/lease.ts`,
    replace: 'Math.max(clock.monotonic() - lastBeat.monotonic, clock.now() - lastBeat.wall)',
    by: 'clock.monotonic() - lastBeat.monotonic',
    tests: dispatchTests,
  },
  {
    bug: 'a lease stands on when the clock is set back',
    file: `${runs}/dispatch/lease.ts`,
    replace: 'Math.max(clock.monotonic() - lastBeat.monotonic, clock.now() - lastBeat.wall)',
    by: 'clock.now() - lastBeat.wall',
    tests: dispatchTests,
  },
  {
    bug: 'a run that is driven at an earlier epoch is not looked for after a claim whose answer was lost',
    file: `${runs}/dispatch/worker.ts`,
    replace: '    found: undriven.add,\n',
    by: '    found: (claim) => {\n      if (!isLive(claim)) undriven.add(claim);\n    },\n',
    tests: workerTests,
  },
  {
    bug: 'a process that drains goes on to claim runs',
    file: `${runs}/dispatch/worker.ts`,
    replace: '      await claims.stop();\n',
    by: '',
    tests: workerTests,
  },
  {
    bug: 'a sub-agent is woken before it is written',
    file: `${runs}/dispatch/worker.ts`,
    replace: '        if (await startChild(parent, call)) topic.wake({ tenantId: parent.tenantId, runId: call.childRunId });\n',
    by: '        topic.wake({ tenantId: parent.tenantId, runId: call.childRunId });\n        await startChild(parent, call);\n',
    tests: workerTests,
  },
  {
    bug: 'a run that could be written again is still taken for broken',
    file: `${runs}/dispatch/worker.ts`,
    replace: '    else breaks.delete(key);\n',
    by: '',
    tests: workerTests,
  },
  {
    bug: 'a worker is retired before its runs are given back',
    file: `${runs}/dispatch/worker.ts`,
    replace: '      await Promise.allSettled(endings);\n',
    by: '',
    tests: workerTests,
  },
  {
    bug: 'a run that may have been written is not reported',
    file: `${runs}/start/start-run.ts`,
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
    bug: 'a run goes on from one that failed or has not begun',
    file: `${runs}/start/start-run.ts`,
    replace: "{ sessionId: session.sessionId, status: 'completed' }",
    by: '{ sessionId: session.sessionId }',
    tests: startTests,
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
    replace: '      flush();\n      onClose();\n',
    by: '      onClose();\n',
    tests: hubTests,
  },
  {
    bug: 'a timer hands text on after the driver has left',
    file: `${runs}/stream/local.ts`,
    replace: '    cancelFlush?.();\n    cancelFlush = null;\n    if (channel.live',
    by: '    cancelFlush = null;\n    if (channel.live',
    tests: hubTests,
  },
  {
    bug: 'a follower that leaves is not released',
    file: `${runs}/stream/follow.ts`,
    replace: '    bell.close();\n    release();\n',
    by: '    bell.close();\n',
    tests: [`${runs}/stream/follow.test.ts`],
  },
];
