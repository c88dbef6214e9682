import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createWasmSandbox, type WasmSandbox } from './index.ts';
import type { WasmModule, WasmRequest, WasmResult } from './types.ts';
import { moduleOf, noHost, nothing, program } from './wasm.testkit.ts';

const mebibyte = 1024 * 1024;
let sandbox: WasmSandbox;
beforeAll(() => {
  sandbox = createWasmSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, limits: { fuel: 1_000_000, wallMs: 5_000 } });
});
afterAll(() => sandbox.close());

const run = (module: WasmModule, request: Partial<WasmRequest> = {}) =>
  sandbox.run({ module, name: 'probe', input: null, grants: nothing, host: noHost, ...request });
const said = (result: WasmResult) => (result.type === 'ok' ? 'ok' : `${result.error.code}: ${result.error.message}`);

const number = (value: number): number[] => (value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...number(value >>> 7)]);
const section = (id: number, ...body: number[]) => [id, ...number(body.length), ...body];
const name = (text: string) => [...number(text.length), ...Buffer.from(text)];
const start = [...name('_start'), 0, 0];
const functionType = [0x60, 0, 0];
const moduleWith = (
  body: readonly number[],
  {
    types = [functionType],
    globals = [],
    exports = [1, ...start],
  }: Partial<Record<'globals' | 'exports', number[]>> & { types?: number[][] },
) =>
  moduleOf(
    Uint8Array.from([
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...section(1, types.length, ...types.flat()),
      ...section(3, 1, 0),
      ...(globals.length === 0 ? [] : section(6, ...globals)),
      ...section(7, ...exports),
      ...section(10, 1, ...number(body.length), ...body),
    ]),
  );
const loop = [0x03, 0x40, 0x0c, 0x00, 0x0b];
const i64 = (...value: number[]) => [0x7e, 1, 0x42, ...value, 0x0b];
const i32 = [0x7f, 1, 0x41, 0, 0x0b];

describe('a module whose bytes mean one thing to who counts and another to the engine', () => {
  // A reference to a type of its own has two bytes: of one that has the number of `br_table`, what follows were its targets.
  const reference = [0x63, 0x0e];
  const many = Array<number[]>(15).fill(functionType);
  it.each<[string, number[]]>([
    ['in a choice', [0, 0xd0, 14, 0xd0, 14, 0x41, 0, 0x1c, 1, ...reference, ...loop, 0x1a, 0x0b]],
    ['in what a block gives', [0, 0x02, ...reference, ...loop, 0xd0, 14, 0x0b, 0x1a, 0x0b]],
    ['in its locals', [1, 1, ...reference, ...loop, 0x0b]],
  ])('hides no loop behind a type %s [verifies tools.wasm.fuel tools.wasm.refused]', async (_where, body) => {
    expect(said(await run(moduleWith(body, { types: many })))).toMatch(/^sandbox_code_error: this is no module that can run: .* type/);
  });

  it('has no fuel of its own in the place of ours [verifies tools.wasm.fuel tools.wasm.refused]', async () => {
    // What is added behind would be the value of its last global.
    const globals = [0, ...i64(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f), ...i32, 0x7b, 0, 0xfd, 0x0c, 0, 0];
    expect(said(await run(moduleWith([0, ...loop, 0x0b], { globals }), { limits: { fuel: 1 } }))).toMatch(/more in it than it says/);
  });

  it('has no word in what it has used [verifies tools.wasm.fuel tools.wasm.refused]', async () => {
    const [fuel, refused] = [name('nexus:fuel'), name('nexus:refused')];
    // The name of its last export would be made of those that are added behind.
    const exports = [1, ...start, ...fuel, 3, 0, fuel.length + 2 + refused.length];
    const found = await run(moduleWith([0, 0x0b], { globals: [1, ...i64(5)], exports }));
    expect(said(found)).toMatch(/more in it than it says/);
  });

  it('takes no memory that nobody counts [verifies tools.wasm.bounded tools.wasm.refused]', async () => {
    // An array of a million numbers in a global: the engine makes it before anything runs.
    const array = [0x63, 1, 0, 0x42, 0, 0x41, 0xc0, 0x84, 0x3d, 0xfb, 6, 1, 0x0b];
    const types = [functionType, [0x5e, 0x7e, 1]];
    expect(said(await run(moduleWith([0, 0x0b], { types, globals: [1, ...array] }), { isCheck: true }))).toMatch(
      /type that is none of a function/,
    );
  });
});

it('a file that was made shorter holds no memory [verifies tools.wasm.bounded]', async () => {
  const imports = `
    (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $size (param i32 i64) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))`;
  const resize = (bytes: number) => `(if (call $size (i32.load (i32.const 200)) (i64.const ${bytes})) (then (unreachable)))`;
  const module = await program(
    `(local $n i32)
    (loop $l
      (i32.store8 (i32.const 100) (i32.add (i32.const 97) (i32.shr_u (local.get $n) (i32.const 4))))
      (i32.store8 (i32.const 101) (i32.add (i32.const 97) (i32.and (local.get $n) (i32.const 15))))
      (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 2) (i32.const 1) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 200))
        (then (unreachable)))
      ${resize(15_000_000)} ${resize(0)}
      (drop (call $close (i32.load (i32.const 200))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $n) (i32.const 90))))
    (drop (call $print (i32.const 0) (i32.const 11)))`,
    imports,
  );
  const host = { ...noHost, openFile: async () => ({ type: 'nothing' }) as const };
  let most = 0;
  const before = process.memoryUsage().rss;
  const watch = systemTimers.every(20, () => {
    most = Math.max(most, process.memoryUsage().rss);
  });
  expect(said(await run(module, { grants: { ...nothing, files: 'write' }, host }))).toBe('ok');
  watch();
  expect((most - before) / mebibyte).toBeLessThan(400);
});

it('a host function that has no stack left ends the module, which learns nothing of it [verifies tools.wasm.bounded]', async () => {
  const imports = '(import "wasi_snapshot_preview1" "random_get" (func $call (param i32 i32) (result i32)))';
  const deep = `\n;; after imports
    (func $f (if (call $call (i32.const 500) (i32.const 8)) (then (drop (call $print (i32.const 0) (i32.const 11)))) (else (call $f))))`;
  expect(said(await run(await program('(call $f)', `${imports}${deep}`)))).toMatch(/^limit_exceeded: the module called itself too deeply/);
});
