import { type Mutant, server } from './mutant.ts';

const commit = `${server}/storage/commit`;
const conformance = ['test/conformance/storage.test.ts'];
const drivers = `${server}/storage/drivers`;
const outageTests = ['test/conformance/storage-outages.test.ts'];
const groupTests = [`${commit}/group.test.ts`];

export const storageMutants: readonly Mutant[] = [
  {
    bug: 'a repeated creation is told that its session has been closed since',
    file: `${commit}/batch.ts`,
    replace: '    claimHandler(batch),\n    createRunHandler(working),\n    sessionHandler(batch),\n',
    by: '    sessionHandler(batch),\n    claimHandler(batch),\n    createRunHandler(working),\n',
    tests: conformance,
  },
  {
    bug: 'events are made before the budget has answered, and do not know what was granted',
    file: `${commit}/batch.ts`,
    replace: '    ledgerHandler(batch),\n    eventHandler(batch, working),\n',
    by: '    eventHandler(batch, working),\n    ledgerHandler(batch),\n',
    tests: conformance,
  },
  {
    bug: 'a commit that is refused leaves a trace in the working set',
    file: `${commit}/batch.ts`,
    replace: 'if (verdict) changes.push(verdict);',
    by: 'if (verdict) verdict();',
    tests: conformance,
  },
  {
    bug: 'a wake-up of a run that still runs is lost',
    file: `${commit}/working-runs.ts`,
    replace: "run.woken === 1 || (run.status === 'waiting'",
    by: "(run.status === 'waiting'",
    tests: conformance,
  },
  {
    bug: 'an answer to a run that still runs is no wake-up',
    file: `${server}/storage/tables/queue.ts`,
    replace: ".when('status', '=', sql.lit('running')).then(1)",
    by: ".when('status', '=', sql.lit('running')).then(0)",
    tests: conformance,
  },
  {
    bug: 'a run that was asked to cancel rests until it is due',
    file: `${commit}/working-runs.ts`,
    replace: " || (run.status === 'waiting' && run.cancel_requested !== null)",
    by: '',
    tests: conformance,
  },
  {
    bug: 'rows are locked in the order in which they were named',
    file: `${server}/storage/program/queries.ts`,
    replace: 'const keys = [...new Set(where.keys)].sort();',
    by: 'const keys = [...new Set(where.keys)];',
    tests: conformance,
  },
  {
    bug: 'a worker with an old epoch may write',
    file: `${commit}/runs.ts`,
    replace: 'row?.epoch !== run.epoch || row.lease_owner',
    by: '!row || row.lease_owner',
    tests: conformance,
  },
  {
    bug: 'a worker that does not own the run may write',
    file: `${commit}/runs.ts`,
    replace: ' || row.lease_owner !== run.owner',
    by: '',
    tests: conformance,
  },
  {
    bug: 'a batch whose outcome is unknown is repeated',
    file: `${commit}/group.ts`,
    replace: 'batch.length === 1 || isUnavailable(error)',
    by: 'batch.length === 1',
    tests: groupTests,
  },
  {
    bug: 'what a transaction has not taken goes behind what came later',
    file: `${commit}/group.ts`,
    replace: 'lane.unshift(...batch.slice(taken))',
    by: 'lane.push(...batch.slice(taken))',
    tests: groupTests,
  },
  {
    bug: 'closing the store does not wait for commits that it accepted',
    file: `${commit}/group.ts`,
    replace: '      await Promise.all(draining);\n',
    by: '',
    tests: conformance,
  },
  {
    bug: 'two commits of one batch claim the same idempotency key',
    file: `${commit}/claims.ts`,
    replace: '        known.set(key, row);\n        created',
    by: '        created',
    tests: [`${commit}/batch.test.ts`],
  },
  {
    bug: 'what a database says besides is held against the statement',
    file: `${drivers}/failures.ts`,
    replace: 'const ofTheStatement = /^(22|23|42)/;',
    by: 'const ofTheStatement = /^(?!08|57P|53300)/;',
    tests: [`${drivers}/failures.test.ts`],
  },
  {
    bug: 'connections to a server that has become a standby are asked again',
    file: `${drivers}/connections.ts`,
    replace: '        if (failure.doubtful && session.era === era) doubtAll();\n',
    by: '',
    tests: outageTests,
  },
  {
    bug: 'a connection that was never opened keeps its place',
    file: `${drivers}/connections.ts`,
    replace: '    } catch (error) {\n      left();\n',
    by: '    } catch (error) {\n',
    tests: outageTests,
  },
  {
    bug: 'a COMMIT whose answer is lost is repeated blindly',
    file: `${drivers}/postgres.ts`,
    replace: "    if (!(reason instanceof DatabaseFailure) || reason.failure !== 'outage') throw reason;",
    by: '    if (performance.now() > 0) throw reason;',
    tests: outageTests,
  },
  {
    bug: 'a commit behind one that is not answered waits for as long again',
    file: `${commit}/group.ts`,
    replace: '      giveUp(lane);\n',
    by: '',
    tests: groupTests,
  },
  {
    bug: 'a lease that a wrong clock wrote holds its runs for as long as the clock was wrong',
    file: `${server}/storage/tables/queue.ts`,
    replace: "where('workers.expires_at', '<=', where('workers.lease_ms', '+', params.latest))",
    by: "where('workers.expires_at', '>', params.now)",
    tests: conformance,
  },
  {
    bug: 'a clock that is wrong stays wrong',
    file: `${server}/storage/shared-clock.ts`,
    replace: 'now: () => local.now() + offsetMs,',
    by: 'now: () => local.now(),',
    tests: [`${server}/storage/shared-clock.test.ts`],
  },
];
