import { type Mutant, server } from './mutant.ts';

const sse = 'packages/protocol/src/sse.ts';
const sseTests = ['packages/protocol/src/sse.test.ts'];
const timerTests = [`${server}/core/timers.test.ts`];

/** Of the protocol, `core` and `bus`. */
export const coreMutants: readonly Mutant[] = [
  {
    bug: 'a CR at the end of a chunk and the LF after it are two line ends',
    file: sse,
    replace: 'else if (from === text.length) skipLineFeed = true;',
    by: '',
    tests: sseTests,
  },
  {
    bug: 'the data of one event counts against the bound of the next',
    file: sse,
    replace: '    data = null;\n    lines = null;\n    id = null;\n',
    by: '    data = null;\n    id = null;\n',
    tests: sseTests,
  },
  {
    bug: 'a line that never ends is kept without a bound',
    file: sse,
    replace: '    if ((carried ?? carry).length > maxEventChars) throw new SseTooLargeError(maxEventChars);\n',
    by: '',
    tests: sseTests,
  },
  {
    bug: 'a task that is repeated keeps the process alive',
    file: `${server}/core/timers.ts`,
    replace: ', maxTimerMs)).unref();',
    by: ', maxTimerMs));',
    tests: timerTests,
  },
  {
    bug: 'a wait for work that settled leaves its timer behind',
    file: `${server}/core/timers.ts`,
    replace: '  } finally {\n    cancel();\n  }',
    by: '  } finally {\n  }',
    tests: timerTests,
  },
  {
    bug: 'a sleep that was cut short leaves its timer behind',
    file: `${server}/core/timers.ts`,
    replace: '      cancel();\n      if (signal) reject',
    by: '      if (signal) reject',
    tests: timerTests,
  },
  {
    bug: 'the last character of a text is lost when it is redacted',
    file: `${server}/core/redact.ts`,
    replace: 'return clean + text.slice(at);',
    by: 'return clean + text.slice(at, -1);',
    tests: [`${server}/core/redact.test.ts`],
  },
  {
    bug: 'a text is cut before it is redacted',
    file: `${server}/core/redact.ts`,
    replace: 'const seen = text.slice(0, limit + marginChars);',
    by: 'const seen = text.slice(0, limit);',
    tests: [`${server}/core/redact.test.ts`],
  },
  {
    bug: 'a listener that throws keeps the message from those after it',
    file: `${server}/bus/drivers/memory.ts`,
    replace: '      } catch (error) {\n        options.onError(error);\n      }',
    by: '      } catch (error) {\n        options.onError(error);\n        break;\n      }',
    tests: ['test/conformance/bus.test.ts'],
  },
  {
    bug: 'a listener that left ends the subscription of one that came later',
    file: `${server}/bus/drivers/memory.ts`,
    replace: 'if (listeners.size === 0 && topics.get(topic) === listeners) topics',
    by: 'topics',
    tests: ['test/conformance/bus.test.ts'],
  },
];
