import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createSandbox, type Sandbox } from '#tools';
import type { CallResult, ProgramResult, WantedCall } from './index.ts';

const limits = { fuel: 2_000, wallMs: 60_000, memoryBytes: 32 * 1024 * 1024, maxOutputChars: 20_000, maxCalls: 60 };
const open = () => createSandbox({ clock: systemClock, timers: systemTimers, limits, maxThreads: 2 });
let sandbox: Sandbox;
let another: Sandbox;
beforeAll(() => {
  sandbox = open();
  another = open();
});
afterAll(() => Promise.all([sandbox.close(), another.close()]));

type Answer = (call: WantedCall) => Omit<CallResult, 'id'>;
const ok = (output: unknown): Omit<CallResult, 'id'> => ({
  isError: false,
  output: typeof output === 'string' ? output : JSON.stringify(output),
});
const failed = (code: string, message: string) => ({ isError: true, output: JSON.stringify({ error: { code, message } }) });
const echo: Answer = ({ name, input }) => ok({ name, input: JSON.parse(input) });

/** Runs a program to its end. With `elsewhere` other threads take it up each time: they know nothing but the state. */
async function drive(
  code: string,
  answer: Answer = echo,
  { elsewhere = false, tools = ['echo', 'with-dash.dot'], fuel = limits.fuel } = {},
) {
  const seen: WantedCall[] = [];
  const printed: string[] = [];
  let suspensions = 0;
  let result: ProgramResult = await sandbox.advance({ code, tools, limits: { fuel } });
  for (; result.type === 'suspended'; suspensions++) {
    seen.push(...result.calls);
    printed.push(result.newLogs);
    const resume = { state: result.state, results: result.calls.map((call) => ({ id: call.id, ...answer(call) })) };
    result = await (elsewhere && suspensions % 2 === 0 ? another : sandbox).advance({ code: '', resume });
  }
  printed.push(result.newLogs);
  const gave = result.type === 'ok' ? result.value : `${result.error.code}: ${result.error.message}`;
  return { gave, seen, suspensions, printed: printed.filter((text) => text !== ''), fuelUsed: result.fuelUsed, logs: result.logs, result };
}

describe('code that calls tools', () => {
  it('is given what they give: JSON as values, other text as it is, failures as errors with a code', async () => {
    const code = `const { name, input } = await tools.echo({ a: [1] });
      const text = await tools['with-dash.dot']();
      try { await tools.echo({ fail: true }) } catch (error) { return [name, input, text, error instanceof Error, error.code, error.message] }`;
    const answer: Answer = (call) =>
      call.name === 'with-dash.dot' ? ok('plain {text') : call.input.includes('fail') ? failed('policy_denied', 'no') : echo(call);
    expect((await drive(code, answer)).gave).toEqual(['echo', { a: [1] }, 'plain {text', true, 'policy_denied', 'no']);
  });

  it('asks for all that it asks for before it waits, and ends once that has ended, awaited or not', async () => {
    const { gave, seen, suspensions } = await drive(`
      const all = await Promise.all(Array.from({ length: 50 }, (_, at) => tools.echo({ at })));
      tools.echo({ forgotten: true }).then(() => tools.echo({ after: true }));
      all.map(({ input }) => input.at).join()`);
    expect(gave).toBe(Array.from({ length: 50 }, (_, at) => at).join());
    expect(seen.map(({ id }) => id)).toEqual(Array.from({ length: 52 }, (_, at) => at + 1));
    expect(suspensions).toBe(3);
  });

  it('settles promises in the order of the results', async () => {
    const code = `const order = []; const [a, b, c] = [1, 2, 3].map((at) => tools.echo({ at }).then(() => order.push(at))); await Promise.all([a, b, c]); order`;
    const first = await sandbox.advance({ code, tools: ['echo'] });
    if (first.type !== 'suspended') throw new Error(first.type);
    const results = [3, 1, 2].map((id) => ({ id, ...ok('x') }));
    expect(await sandbox.advance({ code: '', resume: { state: first.state, results } })).toMatchObject({ type: 'ok', value: [3, 1, 2] });
  });

  const busy = `const spin = (n) => { let s = 0; for (let i = 0; i < n; i++) s = (s * 31 + i) % 1000003; return s };
    const kept = { map: new Map(), big: new Uint8Array(3e6).fill(7), drawn: [] };
    for (let round = 0; round < 6; round++) {
      kept.map.set(round, spin(123456 + round));
      console.log('round', round, kept.map.get(round));
      for (let at = 0; at < 300; at++) await at;
      kept.drawn.push(typeof Math.random());
      const got = await tools.echo({ round, sum: kept.map.get(round) });
      kept.map.set('got' + round, got.input.sum);
    }
    ({ all: [...kept.map], bytes: kept.big.reduce((a, b) => a + b, 0), now: Date.now() === NOW, drawn: kept.drawn })`;

  it('goes on elsewhere exactly where it was: value, output and fuel [verifies code.exact]', async () => {
    const code = busy.replace('NOW', 'Date.now()');
    const [one, other] = [await drive(code), await drive(code, echo, { elsewhere: true })];
    expect(one.suspensions).toBe(6);
    expect(one.fuelUsed).toBeGreaterThan(60);
    const { result: _, ...told } = one;
    const { result: __, ...toldElsewhere } = other;
    expect(toldElsewhere).toEqual(told);
    expect(one.printed.join('\n')).toBe(one.logs);
  });

  it('costs as much as it would without waiting', async () => {
    // The same program with promises of its own in place of the tools.
    const spin = `const spin = () => { for (let i = 0; i < 500000; i++); };`;
    const within = await drive(`${spin} spin(); await null; spin(); await null; spin(); 1`, echo);
    const across = await drive(`${spin} spin(); await tools.echo({}); spin(); await tools.echo({}); spin(); 1`, echo, { elsewhere: true });
    expect(Math.abs(across.fuelUsed - within.fuelUsed)).toBeLessThanOrEqual(1);
    expect(within.fuelUsed).toBeGreaterThan(100);
  });

  it('stops at the same place, however often it waited', async () => {
    const code = `let n = 0; for (;;) { for (let i = 0; i < 700000; i++) n++; console.log(n); await tools.echo({ n }) }`;
    const [one, other] = [await drive(code), await drive(code, echo, { elsewhere: true })];
    expect(one.gave).toMatch(/^limit_exceeded: the code used up its 2000 units of fuel/);
    expect([other.gave, other.logs, other.fuelUsed, other.suspensions]).toEqual([one.gave, one.logs, one.fuelUsed, one.suspensions]);
  });

  it('keeps the numbers that it will draw', async () => {
    const first = await sandbox.advance({ code: 'await tools.echo(); Math.random()', tools: ['echo'] });
    if (first.type !== 'suspended') throw new Error(first.type);
    const resume = { state: first.state, results: [{ id: 1, ...ok('') }] };
    const drawn = await Promise.all([1, 2, 3].map(() => sandbox.advance({ code: '', resume })));
    expect(new Set(drawn.map((result) => result.type === 'ok' && result.value)).size).toBe(1);
  });

  it('does not disturb an engine that serves others', async () => {
    const first = await sandbox.advance({ code: 'globalThis.left = "secret"; await tools.echo(); left', tools: ['echo'] });
    if (first.type !== 'suspended') throw new Error(first.type);
    for (let count = 0; count < 4; count++) {
      const resume = { state: first.state, results: [{ id: 1, ...ok('') }] };
      expect(await sandbox.advance({ code: '', resume })).toMatchObject({ value: 'secret' });
      expect(await sandbox.run({ code: 'typeof left + typeof tools' })).toMatchObject({ value: 'undefinedundefined' });
    }
  });
});

describe('hostile code that calls tools [verifies code.hostile]', () => {
  it('may make so many calls and no more, and is told so', async () => {
    const { gave, seen } = await drive(`let refused = 0; let last;
      for (let i = 0; i < 1000; i++) tools.echo({ i }).catch((error) => { refused++; last = error });
      await tools.echo({}).catch(() => {}); [refused, last.code, last.message]`);
    expect(seen).toHaveLength(60);
    expect(gave).toEqual([940, 'limit_exceeded', 'the code may call tools 60 times; do more with each call']);
  });

  it.each<[string, string, unknown]>([
    ['giant arguments', `await tools.echo({ x: 'x'.repeat(300000) }).catch((error) => error.code)`, 'limit_exceeded'],
    ['no arguments at all', `await tools.echo(() => 1).catch((error) => error.code)`, 'tool_input_invalid'],
    ['arguments in a ring', `const a = {}; a.a = a; await tools.echo(a).catch((error) => error.name)`, 'TypeError'],
    ['arguments that throw', `await tools.echo({ get a() { throw new RangeError('mine') } }).catch((error) => error.message)`, 'mine'],
    ['a change of the tools', `'use strict'; try { tools.echo = 1 } catch (error) { error.name }`, 'TypeError'],
    ['the prototype of the tools', `Object.getPrototypeOf(tools)`, null],
    [
      'what is no tool',
      `typeof tools.constructor + typeof tools.__proto__ + typeof tools.toString + ('code_js' in tools)`,
      'undefinedundefinedundefinedfalse',
    ],
    [
      'a name that no tool has',
      `await tools['x'.repeat(1e6)]().catch(({ code }) => code) + await tools['a\0']().catch(({ code }) => code)`,
      'tool_not_foundtool_not_found',
    ],
    ['tools of its own', `const tools = { echo: () => 5 }; tools.echo()`, 5],
    ['waiting for the tools', `typeof (await tools).echo`, 'function'],
  ])('%s', async (_, code, value) => {
    expect((await drive(code)).gave).toEqual(value);
  });

  it('is told of a tool that there is not by whoever knows which there are, in whatever thread [verifies code.denied]', async () => {
    const answer: Answer = ({ name }) => failed('tool_not_found', `there is no tool "${name}"; did you mean "echo"?`);
    const code = `await 0; try { await tools.ehco({}) } catch (error) { return [error.code, error.message] }`;
    expect((await drive(code, answer, { elsewhere: true })).gave).toEqual([
      'tool_not_found',
      'there is no tool "ehco"; did you mean "echo"?',
    ]);
  });

  it('changes nothing for the host by what it changes for itself', async () => {
    const { gave } = await drive(
      `
      Object.prototype.then = undefined; Object.prototype[1] = { resolve: null }; Object.prototype.resolve = 1; Object.prototype.code = 'stolen';
      JSON.parse = () => 'mine'; JSON.stringify = () => 'mine'; Promise.resolve = null; Map.prototype.get = null; Array.prototype[Symbol.iterator] = null;
      const got = await tools.echo({ a: 1 });
      [got.input.a, await tools.echo({ fail: 1 }).catch((error) => error.code)]`,
      (call) => (call.input.includes('fail') ? failed('tool_failed', 'x') : echo(call)),
    );
    expect(gave).toEqual([1, 'tool_failed']);
  });

  it('ends by its limits while it waits for what never ends', async () => {
    expect((await drive('await tools.echo(); await new Promise(() => {})')).gave).toMatch(/waits for a promise that nothing settles/);
    const endless = await drive('for (;;) await tools.echo().catch(() => {})', echo, { fuel: 100 });
    expect(endless.gave).toMatch(/limit_exceeded: the code used up its 100 units of fuel/);
    expect((await drive('await tools.echo(); const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1))')).gave).toMatch(
      /limit_exceeded: the code used up its memory|bytes of memory/,
    );
  });

  it('has no larger state than it may have memory, whatever that holds', async () => {
    const { gave, result } = await drive(
      `const a = new Uint8Array(20e6); for (let i = 0; i < a.length; i += 997) a[i] = Math.random() * 256;
      await tools.echo(); a.length`,
      echo,
      { elsewhere: true },
    );
    expect(gave).toBe(20e6);
    expect(result.memoryBytes).toBeLessThanOrEqual(32 * 1024 * 1024);
    const deep = await drive(`await tools.echo()`, () => ok('['.repeat(100_000)));
    expect(deep.gave).toMatch(/limit_exceeded|^\[/);
  });

  it('goes on only in an engine like its own, within the limits that it began with', async () => {
    const first = await sandbox.advance({ code: 'await tools.echo(); 1', tools: ['echo'] });
    if (first.type !== 'suspended') throw new Error(first.type);
    const smaller = createSandbox({ clock: systemClock, timers: systemTimers, limits: { memoryBytes: 8 * 1024 * 1024 } });
    const results = [{ id: 1, ...ok('') }];
    expect(await smaller.advance({ code: '', resume: { state: first.state, results } })).toMatchObject({ value: 1 });
    const header = Buffer.from(first.state);
    const changed = Buffer.from(header.toString('latin1').replace(/"layout":"[0-9a-f]{8}/, '"layout":"00000000'), 'latin1');
    expect(await smaller.advance({ code: '', resume: { state: changed, results } })).toMatchObject({ error: { code: 'conflict' } });
    await smaller.close();
  });
});
