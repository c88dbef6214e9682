import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NexusError, systemClock, systemTimers } from '#core';
import { createWasmSandbox, type WasmSandbox } from './wasm/index.ts';
import type { WasmRequest, WasmResult } from './wasm/types.ts';
import { fixture, noHost, nothing, program, wat } from './wasm/wasm.testkit.ts';

let sandbox: WasmSandbox;
beforeAll(() => {
  const limits = { fuel: 50_000_000, wallMs: 5_000, maxOutputBytes: 10_000, maxFileBytes: 100_000, maxHostCalls: 50 };
  sandbox = createWasmSandbox({ clock: systemClock, timers: systemTimers, limits });
});
afterAll(() => sandbox.close());

const read = { ...nothing, files: 'read' as const };
const write = { ...nothing, files: 'write' as const };
const content: Readonly<Record<string, string>> = { 'data/a.txt': 'hello world', 'b.txt': 'b' };
let asked: string[] = [];
const host: WasmRequest['host'] = {
  ...noHost,
  async openFile(path) {
    asked.push(path);
    if (path === 'data') return { type: 'folder' };
    if (path === 'secret.txt') throw new NexusError('policy_denied', 'no');
    if (path === 'link') throw new NexusError('path_not_allowed', 'is a link');
    if (path === 'large') return { type: 'file', content: new Uint8Array(200_000) };
    const text = Object.hasOwn(content, path) ? content[path] : undefined;
    return text === undefined ? { type: 'nothing' } : { type: 'file', content: Buffer.from(text) };
  },
  async listFolder(path) {
    return path === ''
      ? [
          { name: 'data', type: 'folder' },
          { name: 'b.txt', type: 'file' },
        ]
      : [{ name: 'a.txt', type: 'file' }];
  },
};

const files = fixture('files');
const run = (name: string, input: unknown, grants: WasmRequest['grants'], more: Partial<WasmRequest> = {}): Promise<WasmResult> => {
  asked = [];
  return sandbox.run({ module: files, name, input, grants, host, ...more });
};
const value = (result: WasmResult) => (result.type === 'ok' ? result.value : `${result.error.code}: ${result.error.message}`);
const errno = { acces: 2, noent: 44, rofs: 69, notcapable: 76, nosys: 52, isdir: 31, fbig: 22 };

describe('files of a module', () => {
  it('are read through the host, each as a whole [verifies tools.wasm.files]', async () => {
    expect(value(await run('read', 'data/a.txt', read))).toEqual({ content: 'llo worl', at: 10 });
    expect(value(await run('read', '/data/./a.txt', read))).toMatchObject({ content: 'llo worl' });
    expect(asked).toEqual(['data/a.txt']);
    expect(value(await run('list', '.', read))).toEqual({ data: 3, 'b.txt': 4 });
    expect(value(await run('list', 'data', read))).toEqual({ 'a.txt': 4 });
    expect(value(await run('read', 'secret.txt', read))).toEqual({ errno: errno.acces });
    expect(value(await run('read', 'link', read))).toEqual({ errno: errno.notcapable });
    expect(value(await run('read', 'nope', read))).toEqual({ errno: errno.noent });
  });

  it('are not there without the grant, and not written without it', async () => {
    expect(value(await run('read', 'data/a.txt', nothing))).toEqual({ errno: errno.notcapable });
    expect(value(await run('write', 'new.txt', nothing))).toEqual({ errno: errno.notcapable });
    expect(value(await run('write', 'new.txt', read))).toEqual({ errno: errno.rofs });
    expect(value(await run('list', '/', nothing))).toEqual({ errno: errno.notcapable });
  });

  it('are written when the module has ended well; until then only it sees them', async () => {
    const added = await run('write', 'b.txt', write);
    expect(value(added)).toEqual({ bytes: 9, size: 9 });
    expect(added).toMatchObject({ type: 'ok', writes: [{ path: 'b.txt' }] });
    expect(added.type === 'ok' && Buffer.from(added.writes[0]?.content ?? []).toString()).toBe('bone\ntwo\n');
    expect(await run('write', 'deep/er/new.txt', write)).toMatchObject({ type: 'ok', writes: [{ path: 'deep/er/new.txt' }] });
    expect(value(await run('write', 'data', write))).toEqual({ errno: errno.isdir });
  });

  it('never leave their folder, and the rest of the system is not there', async () => {
    for (const path of ['../x', 'data/../../x', '/../etc/passwd', 'data/..', '..', '/etc/../../proc/self/environ']) {
      const result = value(await run('read', path, read));
      expect(result).toEqual({ errno: errno.notcapable });
      expect(asked).toEqual([]);
    }
    expect(value(await run('read', '/etc/passwd', read))).toEqual({ errno: errno.noent });
    expect(value(await run('other', 'b.txt', write))).toEqual({
      time: 0,
      stat: 1,
      remove: -errno.nosys,
      link: -errno.nosys,
      folder: -errno.nosys,
    });
    expect(value(await run('other', 'b.txt', { ...write, clock: true }))).not.toMatchObject({ time: 0 });
  });

  it('are limited in size and in number of questions', async () => {
    expect(value(await run('read', 'large', read))).toMatch(/^limit_exceeded: the module may hold 100000 bytes/);
    const asks = await wat(`(module
      (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
      (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "nope")
      (func (export "_start") (loop $l (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 100))) (br $l))))`);
    expect(value(await run('asks', null, read, { module: asks }))).toMatch(/^limit_exceeded: the module may ask .* 50 times/);
    const opens = await wat(`(module
      (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "b.txt")
      (func (export "_start") (loop $l
        (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 100))) (br $l))))`);
    expect(value(await run('opens', null, read, { module: opens }))).toMatch(/^limit_exceeded: the module may hold .* 64 open/);
    const extends_ = await wat(`(module
      (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $size (param i32 i64) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "b.txt")
      (func (export "_start")
        (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 100)))
        (drop (call $size (i32.load (i32.const 100)) (i64.const 1000000000)))))`);
    expect(value(await run('extends', null, write, { module: extends_ }))).toMatch(/^limit_exceeded: the module may hold/);
  });

  it('answer a pointer or a descriptor that is nowhere with an error number', async () => {
    const calls = [
      ['fd_write', '(param i32 i32 i32 i32)', '(i32.const 1) (i32.const -8) (i32.const 1) (i32.const 0)', 21],
      ['fd_write', '(param i32 i32 i32 i32)', '(i32.const 1) (i32.const 0) (i32.const -1) (i32.const 0)', 28],
      ['fd_write', '(param i32 i32 i32 i32)', '(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)', 8],
      ['fd_write', '(param i32 i32 i32 i32)', '(i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0)', 8],
      ['fd_read', '(param i32 i32 i32 i32)', '(i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)', 31],
      ['fd_read', '(param i32 i32 i32 i32)', '(i32.const 2147483647) (i32.const 0) (i32.const 0) (i32.const 0)', 8],
      ['fd_close', '(param i32)', '(i32.const 99)', 8],
      ['fd_renumber', '(param i32 i32)', '(i32.const 3) (i32.const 1)', 52],
      ['random_get', '(param i32 i32)', '(i32.const 65535) (i32.const 100)', 21],
      ['fd_seek', '(param i32 i64 i32 i32)', '(i32.const 1) (i64.const -5) (i32.const 0) (i32.const 0)', 70],
      ['fd_prestat_get', '(param i32 i32)', '(i32.const 4) (i32.const 0)', 8],
      ['sock_accept', '(param i32 i32 i32)', '(i32.const 3) (i32.const 0) (i32.const 0)', 52],
      ['fd_readdir', '(param i32 i32 i32 i64 i32)', '(i32.const 3) (i32.const 0) (i32.const -1) (i64.const 0) (i32.const 0)', 21],
    ] as const;
    for (const [name, parameters, values, expected] of calls) {
      const module = await wat(`(module
        (import "wasi_snapshot_preview1" "${name}" (func $call ${parameters} (result i32)))
        (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 200) "1")
        (func (export "_start") (local $e i32)
          (local.set $e (call $call ${values}))
          (i32.store8 (i32.const 201) (i32.add (i32.const 48) (i32.div_u (local.get $e) (i32.const 10))))
          (i32.store8 (i32.const 202) (i32.add (i32.const 48) (i32.rem_u (local.get $e) (i32.const 10))))
          (drop (call $print (i32.const 200) (i32.const 3)))))`);
      expect([name, value(await run('bad', null, read, { module }))]).toEqual([name, 100 + expected]);
    }
  });

  it('ends with what it exits with, and says what it printed', async () => {
    const exits = (code: number) =>
      program(
        `(drop (call $print (i32.const 0) (i32.const 11))) (call $exit (i32.const ${code})) (loop $l (br $l))`,
        '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
      );
    expect(value(await run('x', null, nothing, { module: await exits(0) }))).toEqual({ ok: true });
    expect(value(await run('x', null, nothing, { module: await exits(-1) }))).toMatch(
      /^sandbox_code_error: the module ended with code 4294967295/,
    );
  });
});

describe('what a module asks its host', () => {
  const fetches = () =>
    wat(`(module
      (import "nexus" "http_fetch" (func $fetch (param i32 i32) (result i32)))
      (import "nexus" "response_read" (func $response (param i32 i32) (result i32)))
      (import "nexus" "input_read" (func $input (param i32 i32) (result i32)))
      (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
      (import "nexus" "log" (func $log (param i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "working")
      (func (export "_start")
        (drop (call $log (i32.const 0) (i32.const 7)))
        (drop (call $fetch (i32.const 1000) (call $input (i32.const 1000) (i32.const 1000))))
        (drop (call $print (i32.const 1000) (call $response (i32.const 1000) (i32.const 5000))))))`);

  it('is answered, or refused with the reason, while the thread of the server goes on [verifies tools.wasm.host]', async () => {
    const module = await fetches();
    const logs: string[] = [];
    const grants = { ...nothing, http: true };
    const fetch = async (request: unknown) => JSON.stringify(request);
    const answered = await run('x', { url: 'u' }, grants, { module, host: { ...noHost, fetch }, onLog: (text) => logs.push(text) });
    expect([value(answered), logs]).toEqual([{ ok: true, text: '{"url":"u"}' }, ['working']]);
    const told = { ok: false, error: { code: 'policy_denied', message: 'the test grants nothing' } };
    expect(value(await run('x', { url: 'u' }, grants, { module }))).toEqual(told);
  });

  it('takes no time from the module, and ends with it', async () => {
    const module = await fetches();
    const grants = { ...nothing, http: true };
    const slow = { ...noHost, fetch: (_request: unknown, signal: AbortSignal) => systemTimers.sleep(400, signal).then(() => 'late') };
    expect(value(await run('x', {}, grants, { module, host: slow, limits: { wallMs: 50 } }))).toEqual({ ok: true, text: 'late' });
    let ended = false;
    const waits = {
      ...noHost,
      fetch: async (_request: unknown, signal: AbortSignal) => {
        await systemTimers.sleep(60_000, signal).finally(() => {
          ended = true;
        });
        return '';
      },
    };
    const result = await run('x', {}, grants, { module, host: waits, signal: AbortSignal.timeout(300) });
    expect([value(result), ended]).toEqual(['cancelled: the module was cancelled', true]);
  });
});
