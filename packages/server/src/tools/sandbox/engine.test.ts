import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { capWasmMemory, mutableGlobals } from './capped-wasm.ts';
import { createEngines, type ScriptEngine, type ScriptEngines } from './engine.ts';
import { interpret } from './interpreter.ts';

const binary = readFileSync(createRequire(import.meta.url).resolve('quickjs-wasi/quickjs.wasm'));
const memoryBytes = 32 * 1024 * 1024;
const module = new WebAssembly.Module(capWasmMemory(binary, memoryBytes / 65_536));
const limits = { fuel: 500, wallMs: 10_000, memoryBytes, stackBytes: 256 * 1024, maxOutputChars: 10_000, maxCalls: 0 };
const clock = { now: () => Date.now(), monotonic: () => performance.now() };
const host = { nowMs: 0, print: () => undefined, report: () => undefined, call: () => '', poll: () => undefined };

/** Engines, and which of them served. */
function watched(canReset = true) {
  const engines = createEngines(module, memoryBytes, canReset);
  const served: ScriptEngine[] = [];
  const watching: ScriptEngines = {
    async take(...given) {
      const engine = await engines.take(...given);
      served.push(engine);
      return engine;
    },
    giveBack: (engine, isWhole) => engines.giveBack(engine, isWhole),
  };
  const run = async (code: string, input = '') => {
    const { result, logs } = await interpret(watching, { code, input, files: [['f', 'text']], limits }, clock);
    if (result.type === 'ok') return result.value === '' ? undefined : JSON.parse(result.value);
    return result.type === 'error' ? `${result.error.code} ${logs}` : result.type;
  };
  return { engines, served, run };
}

const bytesOf = ({ memory }: ScriptEngine) => new Uint8Array(memory.buffer).slice();

function differences(a: Uint8Array, b: Uint8Array): number[] {
  return a.length === b.length ? [...a.keys()].filter((at) => a[at] !== b[at]) : [-1];
}

const pollution = [
  'Object.prototype.polluted = 1; Array.prototype.map = null; JSON.stringify = () => "1"; JSON.parse = null; 1',
  'globalThis.left = { deep: [1, 2, 3] }; var top = 1; let lexical = 2; class Left {}; 1',
  'Symbol.for("left"); Object.defineProperty(Object.prototype, "then", { value(f) { f("stolen") }, configurable: true }); 1',
  'console.log = () => { throw new Error("mine") }; Promise.prototype.then = function () { return this }; 1',
  '/(?<left>b)/.exec("abc"); Date.now = () => 0; Math.random = () => 0.5; Math.left = 1; 1',
  'files.f = 2; Object.defineProperty(globalThis, "input", { value: "stuck", writable: false, configurable: false }); 1',
  'const loop = async () => { for (let i = 0; i < 50; i++) await 0; globalThis.later = 1; }; loop(); 1',
  'new FinalizationRegistry(() => { globalThis.finalized = 1 }).register({}, 1); new WeakRef({}); 1',
  'Function.prototype.call = null; Error.prepareStackTrace = () => "mine"; Error.stackTraceLimit = 0; throw new Error("x")',
  'Object.freeze(globalThis); Object.freeze(Object.prototype); Object.setPrototypeOf(Array.prototype, null); 1',
  'const secret = "correct horse battery staple"; globalThis.kept = secret.repeat(20); 1',
];
const probe = `[
  typeof Object.prototype.polluted, typeof [].map, JSON.stringify({ a: 1 }), typeof left, typeof top, typeof lexical, typeof Left, typeof later, typeof kept,
  typeof Object.prototype.then, typeof Math.left, RegExp.$1, input, files.f, Object.isFrozen(globalThis), typeof finalized, Error.stackTraceLimit > 0,
  await Promise.resolve(1).then((value) => value + 1), Math.abs(Date.now() - NOW) < 60000, Object.getOwnPropertyNames(globalThis).length
]`;

describe('an engine that serves again [verifies sandbox.engine.clean]', () => {
  it('makes place for a new one in the end, whatever its library keeps of the programs', async () => {
    const engines = createEngines(module, memoryBytes, true);
    const seen = new Map<WebAssembly.Memory, number>();
    for (let count = 0; count < 1_001; count++) {
      const engine = await engines.take(host, limits.stackBytes);
      seen.set(engine.memory, (seen.get(engine.memory) ?? 0) + 1);
      engines.giveBack(engine, true);
    }
    expect([...seen.values()]).toEqual([1_000, 1]);
  });

  it('is byte for byte as it was made, but for the seed of what it draws at random', async () => {
    const { engines, run } = watched();
    const fresh = await engines.take(host, limits.stackBytes);
    const before = bytesOf(fresh);
    engines.giveBack(fresh, true);
    for (const code of pollution) await run(code);
    await run('let text = ""; for (let i = 0; i < 2000; i++) text += i; text.length');
    const again = await engines.take(host, limits.stackBytes);
    expect(again).toBe(fresh);
    const changed = differences(before, bytesOf(again));
    expect(changed.length).toBeGreaterThan(4);
    expect(changed.length).toBeLessThanOrEqual(16);
    expect(Number(changed.at(-1)) - Number(changed[0])).toBeLessThan(16);
  });

  it('shows nothing of the program before it, whatever that did', async () => {
    const { run, served } = watched();
    const asked = probe.replace('NOW', String(Date.now()));
    const clean = await run(asked, '{"a":1}');
    for (const code of pollution) {
      await run(code, '"theirs"');
      expect(await run(asked, '{"a":1}'), code).toEqual(clean);
    }
    expect(new Set(served).size).toBe(1);
    expect(clean).toEqual(await watched(false).run(asked, '{"a":1}'));
  });

  it('holds nothing of the program before it once that has ended', async () => {
    const { run, served } = watched();
    const secret = `sk-${Math.random()}`;
    expect(await run(`globalThis.kept = ["${secret}", input]; kept.length`, JSON.stringify(secret))).toBe(2);
    const [engine] = served;
    expect(Buffer.from(bytesOf(engine as ScriptEngine)).includes(secret)).toBe(false); // one served
  });

  it('counts fuel and memory as one that is made for it', async () => {
    const counting = 'let n = 0; for (;;) { n++; if (n % 10000 === 0) console.log(n) }';
    const [own, again] = [watched(false), watched()];
    await again.run('let a = []; for (let i = 0; i < 1e5; i++) a[i % 100] = i; a.length');
    expect(await again.run(counting)).toBe(await own.run(counting));
  });

  it('draws other numbers at random for each program', async () => {
    const { run, served } = watched();
    const drawn: number[] = [];
    for (let program = 0; program < 300; program++) drawn.push(await run('Math.random()'));
    expect(new Set(served).size).toBe(1);
    expect(new Set(drawn).size).toBe(300);
    const mean = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
    expect(mean).toBeGreaterThan(0.4);
    expect(mean).toBeLessThan(0.6);
  });
});

describe('an engine is not used again', () => {
  it.each([
    ['was stopped', 'for (;;);'],
    ['gave out too much', 'for (;;) console.log("x".repeat(1000))'],
    ['has grown', 'const kept = new Uint8Array(8 << 20); kept.length'],
    ['ran out of its stack', 'const deep = () => deep() + 1; deep()'],
    ['trapped', 'JSON.parse("[".repeat(1e6))'],
  ])('when the one before it %s', async (_why, code) => {
    const { run, served } = watched();
    await run('1');
    await run(code);
    expect(await run('2')).toBe(2);
    const [first, second, third] = served;
    expect(second).toBe(first);
    if (code.startsWith('const deep')) return; // an error of the code, as any other: the stack is its own
    expect(third).not.toBe(second);
  });

  it('when it may have state outside its memory', async () => {
    const { run, served } = watched(false);
    await run('1');
    await run('2');
    expect(served[0]).not.toBe(served[1]);
  });
});

it('sees of a binary how many globals it can change, and caps its memory', () => {
  expect(mutableGlobals(binary)).toBe(1);
  const globals = (...body: number[]) => Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 6, body.length, ...body]);
  expect(mutableGlobals(globals(3, 0x7f, 1, 0x41, 5, 0x0b, 0x7f, 0, 0x41, 0x80, 0x01, 0x0b, 0x7f, 1, 0x41, 0, 0x0b))).toBe(2);
  expect(mutableGlobals(globals().subarray(0, 8))).toBe(0);
  expect(() => mutableGlobals(globals(1, 0x7f, 1, 0x23, 0, 0x6a, 0x0b))).toThrow(RangeError);
});
