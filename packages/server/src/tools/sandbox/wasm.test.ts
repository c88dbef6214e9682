import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createWasmSandbox, type WasmSandbox } from './wasm/index.ts';
import type { WasmModule, WasmRequest, WasmResult } from './wasm/types.ts';
import { noHost, nothing, program, wat } from './wasm/wasm.testkit.ts';

let sandbox: WasmSandbox;
beforeAll(() => {
  const limits = {
    fuel: 20_000_000,
    wallMs: 5_000,
    memoryBytes: 2 * 1024 * 1024,
    maxOutputBytes: 10_000,
    maxFileBytes: 100_000,
    maxHostCalls: 50,
  };
  sandbox = createWasmSandbox({ clock: systemClock, timers: systemTimers, limits });
});
afterAll(() => sandbox.close());

const run = (module: WasmModule, request: Partial<WasmRequest> = {}) =>
  sandbox.run({ module, name: 'probe', input: null, grants: nothing, host: noHost, ...request });
const said = (result: WasmResult) =>
  result.type === 'ok'
    ? result.value
    : `${result.error.code}${result.error.details?.limit === undefined ? '' : `(${result.error.details.limit})`}: ${result.error.message}`;
const ok = '(drop (call $print (i32.const 0) (i32.const 11)))';

describe('a module', () => {
  it('reads its input and gives its result [verifies tools.wasm.call]', async () => {
    const echo = await program('(drop (call $print (i32.const 64) (call $input (i32.const 64) (i32.const 1000))))');
    for (const input of [{ a: [1, 'ü', null] }, 'text', 7, null]) expect(said(await run(echo, { input }))).toEqual(input);
  });

  it('may be a program or a set of functions, which are set up first', async () => {
    const module = await wat(`(module
      (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "12")
      (global $at (mut i32) (i32.const 0))
      (func (export "_initialize") (global.set $at (i32.const 1)))
      (func (export "second") (drop (call $print (global.get $at) (i32.const 1))))
      (func (export "fails") (result i32) (i32.const 9))
      (func (export "wants") (param i32)))`);
    expect(said(await run(module, { entry: 'second' }))).toBe(2);
    expect(said(await run(module, { entry: 'fails' }))).toMatch(/^sandbox_code_error: the module ended with code 9/);
    expect(said(await run(module, { entry: 'wants' }))).toMatch(/a function "wants" that takes arguments/);
    for (const entry of ['nope', '__proto__', 'toString', 'memory'])
      expect(said(await run(module, { entry }))).toMatch(/^sandbox_code_error: the module has (no|a) function/);
    expect(said(await run(module))).toMatch(/no function "_start"/);
  });

  it('keeps nothing from one call to the next', async () => {
    const module = await program(`
      (i32.store8 (i32.const 200) (i32.add (i32.const 49) (i32.load8_u (i32.const 201))))
      (i32.store8 (i32.const 201) (i32.const 1))
      (drop (call $print (i32.const 200) (i32.const 1)))`);
    expect([said(await run(module)), said(await run(module))]).toEqual([1, 1]);
  });
});

describe('limits', () => {
  it('stop an endless loop, recursion and tail calls after the same count each time [verifies tools.wasm.fuel]', async () => {
    const turns = (count: number) =>
      program(
        `(local $n i32) (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const ${count})))) ${ok}`,
      );
    const used = async (count: number, fuel: number) => {
      const result = await run(await turns(count), { limits: { fuel } });
      return { end: result.type === 'ok' ? 'ok' : result.error.details?.limit, used: result.fuelUsed };
    };
    const whole = await used(1_000, 1_000_000);
    expect(whole.end).toBe('ok');
    expect(whole.used).toBeGreaterThan(7_000);
    expect((await used(2_000, 1_000_000)).used - whole.used).toBe(1_000 * ((await used(1_001, 1_000_000)).used - whole.used));
    for (let round = 0; round < 3; round++) {
      expect(await used(1_000, whole.used)).toEqual(whole);
      expect(await used(1_000, whole.used - 1)).toMatchObject({ end: 'fuel' });
    }
    const endless = [
      await program('(loop $l (br $l))'),
      await program('(call $f)', '\n;; after imports\n(func $f (return_call $f))'),
      await program('(loop $l (block $b (br_table $b $l (i32.const 1))) (br $l))'),
    ];
    for (const module of endless) expect(said(await run(module))).toMatch(/^limit_exceeded\(fuel\)/);
  });

  it('count the bytes of one instruction that works on many', async () => {
    const fill = (size: number) => program(`(memory.fill (i32.const 1000) (i32.const 0) (i32.const ${size})) ${ok}`);
    const [little, much] = [await run(await fill(16)), await run(await fill(16 * 1001))];
    expect(much.fuelUsed - little.fuelUsed).toBe(1_000);
    expect(said(await run(await fill(60_000), { limits: { fuel: 1_000 } }))).toMatch(/^limit_exceeded\(fuel\)/);
  });

  it('stop what grows memory or tables, and what recurses or prints without end [verifies tools.wasm.bounded]', async () => {
    const grow = '(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)';
    expect(said(await run(await program(grow)))).toMatch(/^limit_exceeded\(memory\)/);
    // One that can do without goes on.
    expect(said(await run(await program(`(drop (memory.grow (i32.const 60000))) ${ok}`)))).toEqual({ ok: true });
    const table = '\n;; after imports\n(table $t 1 funcref)';
    const growTable = '(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (unreachable)';
    expect(said(await run(await program(growTable, table)))).toMatch(/^limit_exceeded\(memory\)/);
    expect(said(await run(await program(ok, '', '(memory (export "memory") 100)')))).toMatch(/^limit_exceeded\(memory\)/);
    expect(said(await run(await program(ok, '\n;; after imports\n(table 10000000 funcref)')))).toMatch(/^limit_exceeded\(memory\)/);
    expect(said(await run(await program('(call $f)', '\n;; after imports\n(func $f (call $f) (call $f))')))).toMatch(
      /^limit_exceeded\(stack\)/,
    );
    expect(said(await run(await program(`(loop $l ${ok} (br $l))`)))).toMatch(/^limit_exceeded\(output\)/);
    expect(said(await run(await program(ok)))).toEqual({ ok: true });
  });

  it('hold for memory that is imported, and for a start function', async () => {
    const imported = await program(
      `(if (i32.eq (memory.grow (i32.const 60)) (i32.const -1)) (then (unreachable))) ${ok}`,
      '(import "env" "memory" (memory 1 65536))',
      '',
    );
    expect(said(await run(imported))).toMatch(/^limit_exceeded\(memory\)/);
    const start = await program(ok, '\n;; after imports\n(func $s (loop $l (br $l))) (start $s)');
    expect(said(await run(start))).toMatch(/^limit_exceeded\(fuel\)/);
    const prints = await program('', `\n;; after imports\n(func $s ${ok}) (start $s)`);
    expect(said(await run(prints))).toEqual({ ok: true });
  });

  it('stop by time what computes longer, and what is cancelled, and others go on', async () => {
    const slow = await program('(local $n i32) (loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 60000)) (br $l))');
    const wide = createWasmSandbox({ clock: systemClock, timers: systemTimers, limits: { fuel: Number.MAX_SAFE_INTEGER, wallMs: 100 } });
    try {
      const request = { module: slow, name: 'probe', input: null, grants: nothing, host: noHost };
      expect(said(await wide.run(request))).toMatch(/^limit_exceeded\(wall\): .* 100 ms/);
      const cancelled = new AbortController();
      const ending = wide.run({ ...request, signal: cancelled.signal });
      const beside = wide.run({ ...request, module: await program(ok) });
      setTimeout(() => cancelled.abort(), 20);
      expect(said(await ending)).toMatch(/^cancelled/);
      expect(said(await beside)).toEqual({ ok: true });
      expect(said(await wide.run({ ...request, signal: AbortSignal.abort() }))).toMatch(/^cancelled/);
      const last = wide.run(request);
      await wide.close();
      expect(said(await last)).toMatch(/^(cancelled|limit_exceeded)/);
      expect(said(await wide.run(request))).toMatch(/^sandbox_unavailable/);
    } finally {
      await wide.close();
    }
  });
});

describe('what is not taken', () => {
  it('is said, whatever is wrong with a module [verifies tools.wasm.refused]', async () => {
    const good = await program(ok);
    const bad = (bytes: readonly number[]) => ({
      sha256: `bad ${bytes.length} ${bytes.slice(8, 20).join()}`,
      bytes: Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...bytes]),
    });
    const modules = [
      { sha256: 'empty', bytes: new Uint8Array() },
      { sha256: 'text', bytes: new TextEncoder().encode('#!/bin/sh\nrm -rf /') },
      bad([]),
      bad([1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
      bad([5, 3, 1, 3, 1, 1]), // shared memory
      bad([5, 3, 1, 4, 1]), // memory of 64 bits
      bad([5, 5, 2, 0, 1, 0, 1]), // two memories
      bad([13, 1, 0]), // exceptions
      bad([10, 4, 1, 2, 0, 0x06, 0x0b]),
      bad([1, 1, 0, 1, 1, 0]),
    ];
    for (let cut = 9; cut < good.bytes.length; cut += 7) modules.push({ sha256: `cut ${cut}`, bytes: good.bytes.subarray(0, cut) });
    for (const module of modules)
      expect(said(await run(module))).toMatch(/^sandbox_code_error: (this is no module that can run|the module (has|gave) no)/);
    const large = { sha256: 'large', bytes: new Uint8Array(17 * 1024 * 1024) };
    expect(said(await run(large))).toMatch(/^payload_too_large/);
    expect(said(await run(good))).toEqual({ ok: true });
  });

  it('are imports that nothing grants, and names of ours', async () => {
    const importing = (module: string, name: string) => program(ok, `(import "${module}" "${name}" (func (param i32 i32) (result i32)))`);
    expect(said(await run(await importing('nexus', 'http_fetch')))).toMatch(
      /"nexus.http_fetch", which is not granted: it needs the permission net.egress/,
    );
    for (const [module, name] of [
      ['env', 'system'],
      ['nexus', '__proto__'],
      ['nexus', 'constructor'],
      ['__proto__', 'toString'],
      ['wasi_snapshot_preview1', 'nope'],
      ['wasi_unstable', 'fd_write'],
    ] as const)
      expect(said(await run(await importing(module, name)))).toMatch(/^sandbox_code_error: the module imports ".*", which there is not/);
    expect(said(await run(await program(ok, '\n;; after imports\n(func (export "nexus:fuel"))')))).toMatch(
      /names with nexus: are not its own/,
    );
    expect(said(await run(await program(ok, '(import "nexus" "g" (global i32))')))).toMatch(/neither a function nor a memory/);
  });

  it('is a result that is no JSON, or none', async () => {
    const prints = (text: string) =>
      program(
        `(drop (call $print (i32.const 32) (i32.const ${text.length})))`,
        `\n;; after imports\n(data (i32.const 32) "${text.replaceAll('"', '\\"')}")`,
      );
    expect(said(await run(await prints('{"a":')))).toMatch(/is no JSON/);
    expect(said(await run(await prints('[1] x')))).toMatch(/is no JSON/);
    expect(said(await run(await program('')))).toMatch(/gave no result/);
    expect(said(await run(await prints('['.repeat(3_000) + ']'.repeat(3_000))))).toMatch(/nested too deeply/);
    expect(said(await run(await prints('{"__proto__":{"x":1}}')))).toEqual(JSON.parse('{"__proto__":{"x":1}}'));
    expect(said(await run(await program('(unreachable)')))).toMatch(/^sandbox_code_error: the module trapped: unreachable/);
    expect(said(await run(await program('(drop (i32.load (i32.const 100000000)))')))).toMatch(/trapped: memory access out of bounds/);
  });
});
