import { type Mutant, server } from './mutant.ts';

const storeTests = ['test/conformance/storage.test.ts'];
const aloneTests = [`${server}/runs/dispatch/alone.test.ts`];
const takeTests = [`${server}/runs/dispatch/poisonous.test.ts`];
const answerTests = [`${server}/runs/steps/answer-check.test.ts`];

/** Of what keeps one run from killing process after process. */
export const killMutants: readonly Mutant[] = [
  {
    bug: 'kill: deaths of workers are not counted',
    file: `${server}/storage/tables/queue.ts`,
    replace: 'died: ends.get(run_id)?.died ?? 0 }),',
    by: 'died: 0 }),',
    tests: storeTests,
  },
  {
    bug: 'kill: a run that got on keeps its deaths',
    file: `${server}/storage/commit/events.ts`,
    replace: 'Object.assign(row, { deaths: 0, alone: 0 })',
    by: 'Object.assign(row, { alone: 0 })',
    tests: storeTests,
  },
  {
    bug: 'kill: a suspect is claimed with the others',
    file: `${server}/storage/tables/queue.ts`,
    replace: '  yield* burySuspects(lost, now);',
    by: '',
    tests: storeTests,
  },
  {
    bug: 'kill: a death beside others convicts',
    file: `${server}/storage/tables/suspects.ts`,
    replace: 'isAlone ? trial.alone : trial.beside',
    by: 'isAlone ? trial.alone : trial.alone',
    tests: storeTests,
  },
  {
    bug: 'kill: what a trial kills counts for whoever is driven beside it',
    file: `${server}/storage/tables/suspects.ts`,
    replace: 'died: said.get(owner) === verdict.unknown ? 1 : 0,',
    by: 'died: said.has(owner) ? 1 : 0,',
    tests: storeTests,
  },
  {
    bug: 'kill: a run is left to lie before it has the deaths that end it',
    file: `${server}/runs/dispatch/poisonous.ts`,
    replace: 'return maxDeaths + moreDeaths + vainEndings;',
    by: 'return 13;',
    tests: takeTests,
  },
  {
    bug: 'kill: a run that is resumed is given up long before it is ended again',
    file: `${server}/storage/tables/queue.ts`,
    replace: "eb.case().when('deaths', '>', params.mostDeaths).then(params.mostDeaths)",
    by: "eb.case().when('deaths', '>', params.mostDeaths).then(eb.ref('deaths'))",
    tests: storeTests,
  },
  {
    bug: 'kill: nobody wakes the run whose sub-agent is ended instead of driven',
    file: `${server}/runs/dispatch/take-run.ts`,
    replace: 'wake: row.parentRunId === null ? [] : [row.parentRunId]',
    by: 'wake: []',
    tests: takeTests,
  },
  {
    bug: 'kill: a run that is ended instead of driven is counted nowhere',
    file: `${server}/runs/dispatch/take-run.ts`,
    replace: "if (result.type === 'committed')",
    by: "if (result.type === 'fenced')",
    tests: takeTests,
  },
  {
    bug: 'kill: others are driven beside a suspect',
    file: `${server}/runs/dispatch/alone.ts`,
    replace: '    isClosed = true;',
    by: '    isClosed = false;',
    tests: aloneTests,
  },
  {
    bug: 'kill: a suspect that does not get on keeps everybody waiting',
    file: `${server}/runs/dispatch/alone.ts`,
    replace: 'if (!isOver) await store.clearSuspect(row);',
    by: 'if (!isOver) await executor.done;',
    tests: aloneTests,
  },
  {
    bug: 'kill: a poisonous run is taken up once more',
    file: `${server}/runs/dispatch/poisonous.ts`,
    replace: 'diedAlone && deaths >= maxDeaths)',
    by: 'diedAlone && deaths > maxDeaths)',
    tests: takeTests,
  },
  {
    bug: 'kill: one that kills late is never ended',
    file: `${server}/runs/dispatch/poisonous.ts`,
    replace: '&& deaths < maxDeaths + moreDeaths)',
    by: '&& deaths < Number.POSITIVE_INFINITY)',
    tests: takeTests,
  },
  {
    bug: 'kill: one that kills whoever ends it is taken up for ever',
    file: `${server}/storage/tables/suspects.ts`,
    replace: "    .where('deaths', '<', params.setAside)\n",
    by: '',
    tests: storeTests,
  },
  {
    bug: 'kill: a check of an answer that throws is not taken for the end of its run',
    file: `${server}/runs/steps/endings.ts`,
    replace: 'if (error instanceof NexusError) return toErrorInfo(error);\n    return {',
    by: 'if (!(error instanceof NexusError)) throw error;\n    return {',
    tests: answerTests,
  },
  {
    bug: "kill: a result that throws when it is read is nobody's",
    file: `${server}/tools/execution/outcome.ts`,
    replace: 'return concludeWhole(rules, call, outcome);\n  } catch (error) {\n',
    by: 'return concludeWhole(rules, call, outcome);\n  } catch (error) {\n    if (error) throw error;\n',
    tests: [`${server}/runs/seams.test.ts`],
  },
  {
    bug: 'kill: an encoding is looked up among what objects inherit',
    file: 'packages/protocol/src/dictionary.ts',
    replace: 'Object.create(null)',
    by: '{}',
    tests: ['packages/protocol/src/dictionary.test.ts'],
  },
  {
    bug: 'kill: a server outlives the launcher that it is the child of',
    file: 'packages/server/bin/nexus.mjs',
    replace: "launcher.on('close', () => process.kill(process.pid, 'SIGTERM'));",
    by: "launcher.on('close', () => undefined);",
    tests: ['test/chaos/told-to-end.test.ts'],
  },
  {
    bug: 'who calls a tool that there is not is not told the nearest',
    file: `${server}/core/unknown-tool.ts`,
    replace: 'const near = closest(name.slice(0, maxNameChars), names);',
    by: 'const near = names.find((each) => each === name) ?? null;',
    tests: [`${server}/cli/newcomer.test.ts`],
  },
];
