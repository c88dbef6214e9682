import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Worker } from 'node:worker_threads';
import type { ErrorInfo } from '@nexus-agent/protocol';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock, systemTimers, type WaitOutcome } from '#core';
import { createSandbox, type Sandbox, type SandboxRequest } from '#tools';

let sandbox: Sandbox;
beforeAll(() => {
  sandbox = createSandbox({
    clock: systemClock,
    timers: systemTimers,
    limits: { fuel: 500, wallMs: 10_000, memoryBytes: 32 * 1024 * 1024, maxOutputChars: 10_000 },
  });
});
afterAll(() => sandbox.close());

const run = (code: string, request: Partial<SandboxRequest> = {}) => sandbox.run({ code, ...request });
const give = async (code: string, request: Partial<SandboxRequest> = {}) => {
  const result = await run(code, request);
  return result.type === 'ok' ? result.value : `${result.error.code}: ${result.error.message}`;
};

describe('what code gives', () => {
  it.each<[string, unknown]>([
    ['1 + 1', 2],
    ['const a = 1; ({ a, b: [1, "x", null] })', { a: 1, b: [1, 'x', null] }],
    ['const a = 1;\nreturn a + 1;', 2],
    ['if (true) { return "early"; }\nthrow new Error("late")', 'early'],
    ['await Promise.resolve(5)', 5],
    ['async function f() { await null; return 7 }\nf()', 7],
    ['const r = await Promise.all([1, Promise.resolve(2)]);\nreturn r', [1, 2]],
    ['x = 40; x += 2; x', 42],
    [
      '({ m: new Map([["a", 1]]), s: new Set([1]), n: 12345678901234567890n, d: new Date(0) })',
      {
        m: [['a', 1]],
        s: [1],
        n: '12345678901234567890',
        d: '1970-01-01T00:00:00.000Z',
      },
    ],
    ['undefined', undefined],
    ['() => 1', undefined],
    ['"a\\u0000b\\ud800"', 'a\u0000b\ud800'],
    ['new Date(2026, 0, 1).getTimezoneOffset()', 0],
  ])('%j', async (code, value) => {
    expect(await give(code)).toEqual(value);
  });

  it('finds the input and the files', async () => {
    const files = { 'data/a.csv': 'x,y\n1,2\n', ['__proto__']: 'a file like any other' };
    const code = 'files["data/a.csv"].split("\\n").length * input.factor + Object.keys(files).length';
    expect(await give(code, { input: { factor: 10 }, files })).toBe(32);
    expect(await give('typeof input')).toBe('undefined');
  });

  it('keeps what was printed, also when the code fails', async () => {
    const result = await run('console.log("a", 1, { b: [2] }); console.error(new TypeError("c").message); null.x');
    expect(result).toMatchObject({ type: 'error', logs: 'a 1 {"b":[2]}\nc' });
  });

  it.each([
    ['const a = 1;\n\nthrow new RangeError("too far")', 'RangeError: too far (line 3)', 3],
    ['let x = 1;\nlet y = ;', "SyntaxError: unexpected token in expression: ';' (line 2)", 2],
    ['const a = 1;\nif (a) return nope;', 'ReferenceError: nope is not defined (line 2)', 2],
    ['await null;\nnull.x', "TypeError: cannot read property 'x' of null (line 2)", 2],
  ])('names the error and its line: %j', async (code, message, line) => {
    const result = await run(code);
    expect(result).toMatchObject({ type: 'error', error: { code: 'sandbox_code_error', message, details: { line } } });
  });

  it('says that nothing will ever settle a promise', async () => {
    expect(await give('await new Promise(() => {})')).toMatch(/^sandbox_code_error: the code waits for a promise that nothing settles/);
  });
});

const attacks: readonly (readonly [name: string, code: string, expected: string])[] = [
  ['endless loop', 'while (true) {}', 'limit_exceeded (fuel)'],
  ['endless loop that catches', 'for (;;) { try { for (;;); } catch {} finally { continue } }', 'limit_exceeded (fuel)'],
  ['catastrophic regex', '/(a+)+$/.test("a".repeat(40) + "!")', 'limit_exceeded (fuel)'],
  ['endless loop in eval', 'new Function("for (;;);")()', 'limit_exceeded (fuel)'],
  ['endless getter of the result', '({ get a() { for (;;); } })', 'limit_exceeded (fuel)'],
  ['endless toJSON', '({ toJSON() { for (;;); } })', 'limit_exceeded (fuel)'],
  ['endless message of an error', 'throw { get message() { for (;;); }, get stack() { for (;;); } }', 'limit_exceeded (fuel)'],
  ['endless proxy', 'new Proxy({}, { ownKeys() { for (;;); } })', 'limit_exceeded (fuel)'],
  ['microtask starvation', '(async () => { for (;;) { try { await 0 } catch {} } })()', 'limit_exceeded (fuel)'],
  ['microtasks that beget microtasks', 'const f = () => queueMicrotask(f); f(); await new Promise(() => {})', 'limit_exceeded (fuel)'],
  ['arrays of 1 MB', 'const a = []; while (true) a.push(new Array(131072).fill(1))', 'limit_exceeded (memory)'],
  ['string doubling', 'let s = "x"; while (true) s += s', 'limit_exceeded (memory)'],
  ['strings that are kept', 'const a = []; while (true) a.push(("x" + a.length).repeat(100000).toUpperCase())', 'limit_exceeded (memory)'],
  ['typed arrays', 'const a = []; while (true) a.push(new Uint8Array(1 << 20))', 'limit_exceeded (memory)'],
  ['one huge buffer', 'new ArrayBuffer(2 ** 31)', 'limit_exceeded (memory)'],
  ['deep recursion', 'const f = () => f() + 1; f()', 'limit_exceeded (stack)'],
  ['deep recursion in natives', 'const f = () => [1].map(f); f()', 'limit_exceeded (stack)'],
  ['deep nesting of the result', 'let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a', 'limit_exceeded (stack)'],
  ['deep JSON', 'JSON.parse("[".repeat(1e6))', 'limit_exceeded (stack)'],
  ['output flood', 'for (;;) console.log("x".repeat(1000))', 'limit_exceeded (output)'],
  ['output flood that catches', 'for (;;) { try { console.log("x".repeat(1e6)) } catch {} }', 'limit_exceeded (output)'],
  ['flood of empty lines', 'for (;;) console.log()', 'limit_exceeded (output)'],
  ['huge value', '"x".repeat(5e6)', 'limit_exceeded (output)'],
  ['huge error', 'throw new Error("x".repeat(5e6))', 'limit_exceeded (output)'],
  ['work that the engine does not interrupt', '"a".repeat(8e6).indexOf("a".repeat(4e6) + "b")', 'limit_exceeded (wall)'],
  ['waiting in a shared memory', 'Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)', 'sandbox_code_error'],
  ['modules', 'await import("node:fs")', 'sandbox_code_error'],
  ['static modules', 'import fs from "node:fs"', 'sandbox_code_error'],
];

/** The code of an error, and which limit it names. */
function nameOf({ code, details }: ErrorInfo): string {
  return details?.limit === undefined ? code : `${code} (${details.limit})`;
}

/** The event loop of a process that does nothing, from now until it is asked. */
function watchIdleProcess(): { longestDelayMs(): Promise<number> } {
  const script = `const delay = require('node:perf_hooks').monitorEventLoopDelay({ resolution: 10 }); delay.enable();
    process.stdin.on('end', () => process.stdout.write(String(delay.max / 1e6))).resume();`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString();
  });
  return {
    async longestDelayMs() {
      child.stdin.end();
      await once(child, 'close');
      return Number(printed);
    },
  };
}

describe('attacks', () => {
  it('are each contained with a typed error while the host stays responsive and small [verifies sandbox.loop sandbox.regex sandbox.memory sandbox.recursion sandbox.output sandbox.event-loop]', {
    timeout: 60_000,
  }, async () => {
    await run('1'); // the thread's own start is not what is measured
    const memoryBefore = process.memoryUsage().rss;
    const idle = watchIdleProcess();
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const seen: string[][] = [];
    await Promise.all(
      attacks.map(async ([name, code]) => {
        const result = await run(code, name.startsWith('work that') ? { limits: { wallMs: 300 } } : {});
        seen.push([name, result.type === 'error' ? nameOf(result.error) : `gave ${JSON.stringify(result.value)}`]);
      }),
    );
    delay.disable();
    const machineMs = await idle.longestDelayMs();
    expect(Object.fromEntries(seen)).toEqual(Object.fromEntries(attacks.map(([name, , expected]) => [name, expected])));
    // What an idle process was held up by in the same time is the machine's doing, not the sandbox's.
    expect(delay.max / 1e6).toBeLessThan(240 + machineMs);
    expect((process.memoryUsage().rss - memoryBefore) / 1e6).toBeLessThan(300);
    expect(await give('"still here"')).toBe('still here');
  });

  it.each([
    'typeof process + typeof require + typeof module + typeof Deno + typeof Bun',
    'typeof WebAssembly + typeof fetch + typeof XMLHttpRequest + typeof Worker + typeof navigator',
    '(() => {}).constructor("return typeof process")()',
    'console.log.constructor("return typeof process + typeof global")()',
    'Object.getPrototypeOf(async () => {}).constructor("return typeof process")()',
    '[].constructor.constructor("return typeof globalThis.process")()',
    'new Error().constructor.constructor("return typeof process")()',
    'typeof setTimeout + typeof setInterval + typeof setImmediate',
    'typeof print + typeof report + typeof std + typeof os + typeof scriptArgs',
  ])('find no host: %s [verifies sandbox.escape]', async (code) => {
    expect(String(await give(code)).replaceAll('undefined', '')).toBe('');
  });

  it('sees no path of the host in a stack', async () => {
    const stack = String(await give('try { null.x } catch (error) { error.stack }'));
    expect(stack).toMatch(/code\.js:1/);
    expect(stack).not.toMatch(/node_modules|\/home|\/work|file:/);
  });

  it('cannot change what later runs see', async () => {
    await run('Object.prototype.polluted = 1; Array.prototype.map = null; JSON.stringify = () => "1"; globalThis.left = 1; 1');
    const code = '[typeof Object.prototype.polluted, typeof [].map, typeof left, JSON.stringify({ a: 1 })]';
    for (let index = 0; index < 4; index++) expect(await give(code)).toEqual(['undefined', 'function', 'undefined', '{"a":1}']);
  });

  it('cannot measure time [verifies sandbox.escape]', async () => {
    expect(
      await give(
        'const t = Date.now(); const p = performance.now(); for (let i = 0; i < 1e6; i++); [Date.now() - t, performance.now() - p]',
      ),
    ).toEqual([0, 0]);
  });
});

describe('fuel', () => {
  // The code proves the count itself: it prints how far it came.
  const counting = 'let n = 0; for (;;) { n++; if (n % 10000 === 0) console.log(n) }';

  it('stops at the same place each time, on every thread and under load [verifies sandbox.fuel.deterministic]', async () => {
    const limits = { fuel: 60 };
    const results = await Promise.all(Array.from({ length: 8 }, () => run(counting, { limits })));
    results.push(await run(counting, { limits }));
    expect(new Set(results.map(({ logs }) => logs)).size).toBe(1);
    expect(new Set(results.map(({ fuelUsed }) => fuelUsed))).toEqual(new Set([60]));
    expect(results[0]?.logs.split('\n').length).toBeGreaterThan(5);
  });

  it('stops microtasks at the same place each time [verifies sandbox.fuel.deterministic sandbox.loop]', async () => {
    const code = 'let n = 0; for (;;) { await 0; if (++n % 1000 === 0) console.log(n) }';
    const results = await Promise.all(Array.from({ length: 4 }, () => run(code, { limits: { fuel: 60 } })));
    // Each turn is a job: far dearer than a turn of a plain loop, so it must burn more.
    expect(Number(results[0]?.logs.split('\n').at(-1))).toBeLessThan(60_000);
    expect(new Set(results.map((result) => (result.type === 'error' ? result.error.code + result.logs : 'ok'))).size).toBe(1);
  });

  it('counts the same for code that ends', async () => {
    const code = 'let s = 0; for (let i = 0; i < 500000; i++) s += i % 7; s';
    const used = new Set((await Promise.all([run(code), run(code), run(code)])).map(({ fuelUsed }) => fuelUsed));
    expect(used.size).toBe(1);
    expect([...used][0]).toBeGreaterThan(20);
  });

  it('cannot be raised above the ceiling', async () => {
    expect(await run('for (;;);', { limits: { fuel: 1e9 } })).toMatchObject({ fuelUsed: 500 });
  });
});

describe('the pool', () => {
  it('ends code at once when it is cancelled, and goes on', async () => {
    const controller = new AbortController();
    const running = run('"a".repeat(8e6).indexOf("a".repeat(4e6) + "b")', { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    const startedAt = performance.now();
    expect(await running).toMatchObject({ type: 'error', error: { code: 'cancelled' } });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(await run('1', { signal: AbortSignal.abort() })).toMatchObject({ error: { code: 'cancelled' } });
    expect(await give('1')).toBe(1);
  });

  it('serves what waits in its time, refuses what would wait longer, and says what to do [verifies queue.bounded-by-time]', async () => {
    const ended: WaitOutcome[] = [];
    const observer = { depth: () => undefined, ended: (outcome: WaitOutcome) => void ended.push(outcome) };
    const small = createSandbox({
      ...{ clock: systemClock, timers: systemTimers, observer, maxThreads: 1, spareThreads: 0, maxWaitMs: 1_500, limits: { fuel: 1e7 } },
    });
    try {
      await small.run({ code: '0' }); // the start of its thread is not what is waited for
      const many = await Promise.all(Array.from({ length: 70 }, (_, index) => small.run({ code: `${index}` })));
      const codes = many.map((result) => (result.type === 'ok' ? result.value : result.error.code));
      expect(codes.slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
      expect(codes).not.toContain('rate_limited');
      const [first, second] = [small.run({ code: 'for (;;);', limits: { wallMs: 2_500 } }), small.run({ code: '2' })];
      expect(await second).toMatchObject({
        type: 'error',
        durationMs: 0,
        error: { code: 'rate_limited', retryable: true, details: { what: 'programs' } },
      });
      expect(await second).toMatchObject({ error: { message: expect.stringMatching(/sandbox\.maxWaitMs.*try again later/) } });
      expect((await second).waitedMs).toBeGreaterThan(1_490);
      expect(await first).toMatchObject({ error: { code: 'limit_exceeded', details: { limit: 'wall' } } });
      expect(ended.at(-1)).toBe('timed_out');
    } finally {
      await small.close();
    }
  });

  it('does not count what a program waited as its own time, and asks for its files only in its turn [verifies queue.bounded-memory]', async () => {
    const small = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, spareThreads: 0, limits: { fuel: 1e7 } });
    try {
      await small.run({ code: '1' });
      const asked: string[] = [];
      const first = small.run({ code: 'for (;;);', limits: { wallMs: 600 } });
      const files = async () => {
        asked.push('files');
        return { a: 'text' };
      };
      const second = small.run({ code: 'files.a', files, limits: { wallMs: 500 } });
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(asked).toEqual([]);
      expect(await first).toMatchObject({ waitedMs: 0 });
      const result = await second;
      expect(result).toMatchObject({ type: 'ok', value: 'text' });
      expect(result.waitedMs).toBeGreaterThan(550);
      expect(result.durationMs).toBeLessThan(500);
      const broken = small.run({
        code: '1',
        files: async () => {
          throw new TypeError('no file');
        },
      });
      await expect(broken).rejects.toThrow('no file');
      expect(await small.run({ code: '3' })).toMatchObject({ value: 3 });
    } finally {
      await small.close();
    }
  });

  it('runs a program in the same turn again when its thread breaks, once, and loses no place by it [verifies queue.thread-breaks]', async () => {
    const threads: Worker[] = [];
    const onWorker = (worker: Worker) => threads.push(worker);
    process.on('worker', onWorker);
    const small = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, spareThreads: 0, limits: { fuel: 1e7 } });
    try {
      const endNewest = async () => {
        const known = threads.length;
        await vi.waitFor(() => expect(threads.length).toBeGreaterThan(0));
        await threads.at(-1)?.terminate();
        return known;
      };
      const first = small.run({ code: '1' });
      const waits = small.run({ code: '2' });
      await endNewest();
      expect(await first).toMatchObject({ type: 'ok', value: 1 });
      expect(await waits).toMatchObject({ type: 'ok', value: 2 });
      expect(threads).toHaveLength(2);
      const twice = small.run({ code: 'for (;;);' });
      await endNewest();
      await vi.waitFor(() => expect(threads).toHaveLength(3));
      await endNewest();
      expect(await twice).toMatchObject({ type: 'error', error: { code: 'sandbox_unavailable', retryable: true } });
      expect(await small.run({ code: '4' })).toMatchObject({ value: 4 });
    } finally {
      process.off('worker', onWorker);
      await small.close();
    }
  });

  it('is shared: nobody waits behind the programs of another tenant, or of another session [verifies hostile.shares.sandbox]', async () => {
    const small = createSandbox({
      clock: systemClock,
      timers: systemTimers,
      maxThreads: 1,
      spareThreads: 2,
      limits: { wallMs: 20_000, fuel: 1e7 },
    });
    const ending = new AbortController();
    try {
      const greedy = (sessionId: string) =>
        small.run({ code: 'for (;;);', holder: { tenantId: 'greedy', sessionId }, signal: ending.signal });
      const busy = Array.from({ length: 30 }, (_, index) => greedy(`session ${index % 5}`));
      // It has as many threads as there are, and one of the spare ones for its second session.
      expect(await small.run({ code: '1 + 1', holder: { tenantId: 'other', sessionId: 'a' } })).toMatchObject({ value: 2 });
      const waits = small.run({ code: '1 + 1', holder: { tenantId: 'greedy', sessionId: 'own' } });
      expect(await Promise.race([waits.then(() => 'ran'), new Promise((resolve) => setTimeout(resolve, 100, 'waits'))])).toBe('waits');
      ending.abort();
      await Promise.all(busy);
      expect(await waits).toMatchObject({ value: 2 });
    } finally {
      await small.close();
    }
  });

  it('takes a waiting run out of the queue when it is cancelled', async () => {
    const small = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1 });
    try {
      const controller = new AbortController();
      const first = small.run({ code: 'let n = 0; for (let i = 0; i < 1e6; i++) n++; n' });
      const second = small.run({ code: '2', signal: controller.signal });
      const third = small.run({ code: '3' });
      controller.abort();
      expect(await second).toMatchObject({ error: { code: 'cancelled' } });
      expect(await first).toMatchObject({ value: 1e6 });
      expect(await third).toMatchObject({ value: 3 });
    } finally {
      await small.close();
    }
  });

  it('refuses input that would not leave room to work', async () => {
    expect(await give('1', { files: { a: 'x'.repeat(5e6) } })).toMatch(/^payload_too_large/);
  });

  it('ends idle threads and starts new ones', async () => {
    const brief = createSandbox({ clock: systemClock, timers: systemTimers, idleMs: 20 });
    try {
      expect(await brief.run({ code: '1' })).toMatchObject({ value: 1 });
      await new Promise((resolve) => setTimeout(resolve, 80));
      expect(await brief.run({ code: '2' })).toMatchObject({ value: 2 });
    } finally {
      await brief.close();
    }
  });

  it('does not keep a process alive that has nothing else to do', { timeout: 30_000 }, async () => {
    const program = `import { systemClock, systemTimers } from '#core';
      import { createSandbox } from '#tools';
      console.log((await createSandbox({ clock: systemClock, timers: systemTimers }).run({ code: '40 + 2' })).value);`;
    const startedAt = performance.now();
    const args = ['--conditions=nexus-source', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: fileURLToPath(new URL('../../..', import.meta.url)) });
    expect(stdout.trim()).toBe('42');
    expect(performance.now() - startedAt).toBeLessThan(20_000); // an idle thread lives for 30 s
  });

  it('ends everything when it is closed', async () => {
    const closing = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1 });
    const runs = [closing.run({ code: 'for (;;);' }), closing.run({ code: '1' })];
    await closing.close();
    expect(await Promise.all(runs)).toMatchObject([{ error: { code: 'cancelled' } }, { error: { code: 'cancelled' } }]);
    expect(await closing.run({ code: '1' })).toMatchObject({ error: { code: 'sandbox_unavailable' } });
  });
});
