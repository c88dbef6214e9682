import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createWasmSandbox, type WasmSandbox } from './index.ts';
import type { WasmModule, WasmRequest, WasmResult } from './types.ts';
import { noHost, nothing, program, wat } from './wasm.testkit.ts';

const mebibyte = 1024 * 1024;
let sandbox: WasmSandbox;
beforeAll(() => {
  sandbox = createWasmSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 2, limits: { fuel: 100_000_000, wallMs: 15_000 } });
});
afterAll(() => sandbox.close());

const ok = '(drop (call $print (i32.const 0) (i32.const 11)))';
const run = (module: WasmModule, request: Partial<WasmRequest> = {}) =>
  sandbox.run({ module, name: 'probe', input: null, grants: { ...nothing, clock: true, random: true }, host: noHost, ...request });
const said = (result: WasmResult) => (result.type === 'ok' ? 'ok' : `${result.error.code} ${result.error.details?.limit ?? ''}`.trim());

/** A module of `count` functions of some size, as text would be too slow. */
function largeModule(functions: number, instructions: number): WasmModule {
  const number = (value: number): number[] => (value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...number(value >>> 7)]);
  const section = (id: number, body: Uint8Array) => Buffer.concat([Buffer.from([id, ...number(body.length)]), body]);
  const one = Buffer.concat([Buffer.from([0]), Buffer.alloc(instructions, 0x01), Buffer.from([0x0b])]);
  const code = Buffer.concat([
    Buffer.from(number(functions)),
    ...Array.from({ length: functions }, () => Buffer.concat([Buffer.from(number(one.length)), one])),
  ]);
  const types = Buffer.from([1, 0x60, 0, 0]);
  const declared = Buffer.concat([Buffer.from(number(functions)), Buffer.alloc(functions, 0)]);
  const name = Buffer.from('_start');
  const exported = Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([0, 0])]);
  const parts = [section(1, types), section(3, declared), section(7, exported), section(10, code)];
  const bytes = Buffer.concat([Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]), ...parts]);
  return { sha256: `large ${functions} ${instructions}`, bytes };
}

it('attacks leave the server calm, its memory bounded and the next call as good as ever [verifies tools.wasm.host.calm]', async () => {
  const good = await program(ok);
  const wasi = (name: string, type: string) => `(import "wasi_snapshot_preview1" "${name}" (func $call ${type}))`;
  const attacks: [string, WasmModule, RegExp][] = [
    ['loop', await program('(loop $l (br $l))'), /fuel/],
    ['nested loops', await program('(loop $a (loop $b (loop $c (br $c)) (br $b)) (br $a))'), /fuel/],
    [
      'memory',
      await program(
        '(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (memory.fill (i32.const 0) (i32.const 1) (i32.const 60000000)) (unreachable)',
      ),
      /memory/,
    ],
    [
      'tables',
      await program(
        '(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 5000)) (i32.const -1)))) (unreachable)',
        '\n;; after imports\n(table $t 1 funcref)',
      ),
      /memory/,
    ],
    [
      'stack',
      await program('(call $f (i64.const 1))', '\n;; after imports\n(func $f (param i64) (call $f (local.get 0)) (call $f (local.get 0)))'),
      /stack/,
    ],
    ['tail calls', await program('(call $f)', '\n;; after imports\n(func $f (return_call $f))'), /fuel/],
    ['output', await program(`(loop $l ${ok} (br $l))`), /output/],
    ['start', await program(ok, '\n;; after imports\n(func $s (loop $l (br $l))) (start $s)'), /fuel/],
    [
      'fill',
      await program(
        '(memory.fill (i32.const 0) (i32.const 1) (i32.const 60000)) (loop $l (memory.copy (i32.const 0) (i32.const 1) (i32.const 60000)) (br $l))',
      ),
      /fuel/,
    ],
    [
      'logs',
      await program(
        '(loop $l (drop (call $log (i32.const 0) (i32.const 4000))) (br $l))',
        '(import "nexus" "log" (func $log (param i32 i32) (result i32)))',
      ),
      /fuel|wall/,
    ],
    [
      'clock',
      await program(
        '(loop $l (drop (call $call (i32.const 0) (i64.const 0) (i32.const 100))) (br $l))',
        wasi('clock_time_get', '(param i32 i64 i32) (result i32)'),
      ),
      /fuel|wall/,
    ],
    [
      'chance',
      await program(
        '(loop $l (drop (call $call (i32.const 0) (i32.const 60000))) (br $l))',
        wasi('random_get', '(param i32 i32) (result i32)'),
      ),
      /fuel|wall/,
    ],
    [
      'sleep',
      await program(
        '(i32.store8 (i32.const 208) (i32.const 0)) (i64.store (i32.const 224) (i64.const 999999999999999)) (loop $l (drop (call $call (i32.const 200) (i32.const 400) (i32.const 1) (i32.const 600))) (br $l))',
        wasi('poll_oneoff', '(param i32 i32 i32 i32) (result i32)'),
      ),
      /wall/,
    ],
    ['exit', await program('(call $call (i32.const 300))', wasi('proc_exit', '(param i32)')), /sandbox_code_error/],
    ['large', largeModule(1_000, 7_000), /sandbox_code_error|wall/],
    ['many functions', largeModule(300_000, 1), /sandbox_code_error|wall/],
    ['too large', { sha256: 'too large', bytes: new Uint8Array(20 * mebibyte) }, /payload_too_large/],
    ['no module', { sha256: 'no module', bytes: new Uint8Array(10 * mebibyte) }, /sandbox_code_error/],
  ];
  expect(said(await run(good))).toBe('ok');
  let most = 0;
  const watch = systemTimers.every(50, () => {
    most = Math.max(most, process.memoryUsage().rss);
  });
  const before = process.memoryUsage().rss;
  for (const [name, module, expected] of attacks) {
    const started = process.threadCpuUsage();
    const [ended, beside] = await Promise.all([
      run(module, expected.source.includes('wall') ? { limits: { wallMs: 500 } } : {}),
      run(good),
    ]);
    expect([name, said(ended)]).toEqual([name, expect.stringMatching(expected)]);
    expect([name, said(beside), said(await run(good))]).toEqual([name, 'ok', 'ok']);
    // All that this thread did for it: whatever else the machine does, it cannot have stood still for longer by itself.
    const { user, system } = process.threadCpuUsage(started);
    expect([name, (user + system) / 1_000 < 250]).toEqual([name, true]);
  }
  watch();
  // Each of two threads may hold its memory and what it is compiled from.
  expect((most - before) / mebibyte).toBeLessThan(500);
});

it('forty attacks at once end, and none of them takes from an honest call', async () => {
  const loop = await program('(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 6000)) (br $l))');
  const good = await program(ok);
  const grow = await program('(loop $l (br_if $l (i32.ne (memory.grow (i32.const 100)) (i32.const -1)))) (unreachable)');
  const attackers = Array.from({ length: 40 }, (_, index) =>
    run(index % 2 === 0 ? loop : grow, { holder: { tenantId: 'attacker', sessionId: 's' }, limits: { fuel: 5_000_000 } }),
  );
  const honest = await run(good, { holder: { tenantId: 'honest', sessionId: 's' } });
  expect(said(honest)).toBe('ok');
  for (const result of await Promise.all(attackers)) expect(said(result)).toMatch(/^limit_exceeded (fuel|memory|wall)$/);
  expect(said(await run(good))).toBe('ok');
});

it('re-entrance does not exist: a host function never calls the module', async () => {
  const module = await wat(`(module
    (import "nexus" "log" (func $log (param i32 i32) (result i32)))
    (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "{}")
    (table (export "__indirect_function_table") 2 funcref) (elem (i32.const 0) $log $print)
    (func (export "malloc") (param i32) (result i32) (unreachable))
    (func (export "log") (unreachable))
    (func (export "_start") (drop (call_indirect (param i32 i32) (result i32) (i32.const 0) (i32.const 2) (i32.const 1)))))`);
  expect(said(await run(module))).toBe('ok');
});
