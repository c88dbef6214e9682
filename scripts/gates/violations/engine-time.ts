import { server, type Violation } from './violation.ts';

/** Ways of coming to a raw timer, clock or source of chance, and what the check calls it. */
const ways: Readonly<Record<string, { readonly code: string; readonly rule: 'timer' | 'clock' | 'chance'; readonly name: string }>> = {
  setTimeout: { code: 'setTimeout(() => undefined, 1);', rule: 'timer', name: 'setTimeout' },
  setInterval: { code: 'setInterval(() => undefined, 1);', rule: 'timer', name: 'setInterval' },
  setImmediate: { code: 'setImmediate(() => undefined);', rule: 'timer', name: 'setImmediate' },
  'Date.now': { code: 'Date.now();', rule: 'clock', name: 'Date.now' },
  'new Date()': { code: 'new Date();', rule: 'clock', name: 'Date' },
  'Date()': { code: 'Date();', rule: 'clock', name: 'Date' },
  'performance.now': { code: 'performance.now();', rule: 'clock', name: 'performance.now' },
  'Math.random': { code: 'Math.random();', rule: 'chance', name: 'Math.random' },
  'process.hrtime': { code: 'process.hrtime.bigint();', rule: 'clock', name: 'process.hrtime.bigint' },
  'AbortSignal.timeout': { code: 'AbortSignal.timeout(1);', rule: 'timer', name: 'AbortSignal.timeout' },
  'global crypto.randomUUID': { code: 'crypto.randomUUID();', rule: 'chance', name: 'crypto.randomUUID' },
  'import of a timer': { code: "import { setTimeout as sleep } from 'node:timers';\nsleep(1);", rule: 'timer', name: 'node:timers' },
  'export of a timer': { code: "export * from 'node:timers/promises';", rule: 'timer', name: 'node:timers/promises' },
  'late import of a timer': { code: "await import('node:timers/promises');", rule: 'timer', name: 'node:timers/promises' },
  'import of performance': { code: "import 'node:perf_hooks';", rule: 'clock', name: 'node:perf_hooks' },
  'import of randomUUID': { code: "import { randomUUID } from 'node:crypto';\nrandomUUID();", rule: 'chance', name: 'randomUUID' },
  'import of randomBytes': { code: "import { randomBytes as draw } from 'node:crypto';\ndraw(1);", rule: 'chance', name: 'randomBytes' },
  'import of all of crypto': { code: "import * as all from 'node:crypto';\nall.randomInt(3);", rule: 'chance', name: 'node:crypto' },
  "import of the system's timers": {
    code: "import { systemTimers } from '#core';\nsystemTimers.soon();",
    rule: 'timer',
    name: 'systemTimers',
  },
  "import of the system's clock": { code: "import { systemClock } from '#core';\nsystemClock.now();", rule: 'clock', name: 'systemClock' },
  'globalThis.setTimeout': { code: 'globalThis.setTimeout(() => undefined, 1);', rule: 'timer', name: 'setTimeout' },
  "globalThis['setTimeout']": { code: "globalThis['setTimeout'](() => undefined, 1);", rule: 'timer', name: 'setTimeout' },
  'globalThis under another name': { code: 'export const everything = globalThis;', rule: 'timer', name: 'globalThis' },
  'clock taken out of its object': { code: 'export const { now } = Date;', rule: 'clock', name: 'Date.now' },
  'timer taken out of globalThis': { code: 'export const { setInterval: each } = globalThis;', rule: 'timer', name: 'setInterval' },
  'clock under another name': { code: 'export const Time = Date;', rule: 'clock', name: 'Date' },
  'clock by a computed name': { code: "export const time = Date['n' + 'ow'];", rule: 'clock', name: 'Date.?' },
  'clock behind a cast': { code: '(Date as unknown as DateConstructor).now();', rule: 'clock', name: 'Date.now' },
  'clock as a default': { code: 'export const planted = ({ now = Date.now }) => now();', rule: 'clock', name: 'Date.now' },
  'timer in an object': { code: 'export const timers = { setTimeout };', rule: 'timer', name: 'setTimeout' },
};

const escaped = (text: string) => text.replace(/[.?]/g, '\\$&');
const waysInOneRoom = Object.entries(ways).map(([way, { code, rule, name }], index): Violation => {
  const file = `planted-time-${index}.ts`;
  const caught = new RegExp(`runs/steps/${escaped(file)}:1 {2}raw-${rule} {2}${escaped(name)}: `);
  return { gate: `engine time: ${way}`, step: 'time', file: `${server}/runs/steps/${file}`, plant: `${code}\n`, caught };
});

const places = ['calls', 'control', 'ledger', 'budget', 'identity', 'storage', 'bus', 'policy', 'llm', 'tools/execution'];

/** Every way in one room, and one way in every place; and tests that draw without a seed. */
export const timeViolations: readonly Violation[] = [
  ...waysInOneRoom,
  ...places.map(
    (place): Violation => ({
      gate: `engine time in ${place}`,
      step: 'time',
      file: `${server}/${place}/planted-time.ts`,
      plant: 'Date.now();\n',
      caught: new RegExp(`src/${place}/planted-time\\.ts:1 {2}raw-clock {2}Date\\.now`),
    }),
  ),
  ...['chaos', 'sim'].map(
    (place): Violation => ({
      gate: `chance without a seed in test/${place}`,
      step: 'time',
      file: `test/${place}/planted-chance.ts`,
      plant: 'Date.now();\nMath.random();\n',
      caught: new RegExp(`test/${place}/planted-chance\\.ts:2 {2}raw-chance {2}Math\\.random: draw from the seed`),
    }),
  ),
];
