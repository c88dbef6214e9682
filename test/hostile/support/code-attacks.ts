/**
 * Attacks of code on its engine (tier T0) and of modules on their host (T1), as data like those on jails. A defence of these tiers is a limit
 * that is far away, or a grant that is given.
 */
import { createHash } from 'node:crypto';
import wabt from 'wabt';
import { NexusError, systemClock, systemTimers } from '../../../packages/server/src/core/index.ts';
import { createSandbox, createWasmSandbox } from '../../../packages/server/src/tools/index.ts';

const mebibyte = 1024 * 1024;
const far = { fuel: 10_000_000_000, wallMs: 60_000, memoryBytes: 512 * mebibyte };
const near = {
  engine: { fuel: 200, wallMs: 10_000, memoryBytes: 16 * mebibyte, stackBytes: 64 * 1024, maxOutputChars: 10_000, maxCalls: 3 },
  module: {
    ...{ fuel: 1_000_000, wallMs: 10_000, memoryBytes: 4 * mebibyte, maxOutputBytes: 10_000, maxFileBytes: 100_000 },
    ...{ maxHostCalls: 20, maxModuleBytes: 100_000 },
  },
};
const distant = {
  engine: { ...far, stackBytes: 512 * 1024, maxOutputChars: 10_000_000, maxCalls: 1_000 },
  module: { ...far, maxOutputBytes: 10_000_000, maxFileBytes: 100_000_000, maxHostCalls: 100_000, maxModuleBytes: 10_000_000 },
};

type EngineDefence = keyof typeof near.engine;
type ModuleDefence = keyof typeof near.module | 'clock';

/** Each of them is needed. */
export const codeDefences = [...new Set<string>([...Object.keys(near.engine), ...Object.keys(near.module)]), 'clock'];

export interface CodeAttack {
  readonly name: string;
  /** Without all of these it succeeds. None: there is nothing in the engine that it could reach. */
  readonly defences: readonly EngineDefence[];
  /** Gives `ESCAPED` where it succeeds. */
  readonly code: string;
}

export interface ModuleAttack {
  readonly name: string;
  readonly defences: readonly ModuleDefence[];
  /** WebAssembly text, which ends well where it succeeds. */
  readonly body: string;
  readonly more?: string;
  readonly memory?: string;
}

const escaped = (condition: string) => `(${condition}) ? 'ESCAPED' : 'held'`;

export const codeAttacks: readonly CodeAttack[] = [
  { name: 'computes for long', defences: ['fuel'], code: `let n = 0; for (let i = 0; i < 2e7; i++) n += i; 'ESCAPED'` },
  { name: 'computes for long in a regular expression', defences: ['fuel'], code: `/(a+)+$/.test('a'.repeat(21) + '!'); 'ESCAPED'` },
  { name: 'computes for long in code of code', defences: ['fuel'], code: `new Function('for (let i = 0; i < 2e7; i++);')(); 'ESCAPED'` },
  { name: 'computes for long and catches its end', defences: ['fuel'], code: `try { for (let i = 0; i < 2e7; i++); } catch {} 'ESCAPED'` },
  {
    name: 'computes for long while it sorts',
    defences: ['fuel'],
    code: `for (let i = 0; i < 5; i++) Array.from({ length: 5e4 }, (_, at) => (at * 7919) % 50021).sort((a, b) => a - b); 'ESCAPED'`,
  },
  {
    name: 'computes for long in a getter of its result',
    defences: ['fuel'],
    code: `({ toJSON() { for (let i = 0; i < 2e7; i++); return 'ESCAPED' } })`,
  },
  {
    name: 'computes for long in a proxy',
    defences: ['fuel'],
    code: `Object.keys(new Proxy({}, { ownKeys() { for (let i = 0; i < 2e7; i++); return [] } })); 'ESCAPED'`,
  },
  { name: 'goes on in its microtasks', defences: ['fuel'], code: `for (let i = 0; i < 4e5; i++) await 0; 'ESCAPED'` },
  {
    name: 'begets microtasks',
    defences: ['fuel'],
    code: `let n = 0; await new Promise((done) => { const f = () => (++n < 4e5 ? queueMicrotask(f) : done()); f() }); 'ESCAPED'`,
  },
  {
    name: 'computes where the engine does not look',
    defences: ['wallMs'],
    code: `'a'.repeat(1e5).indexOf('a'.repeat(5e4) + 'b'); 'ESCAPED'`,
  },
  {
    name: 'fills arrays',
    defences: ['memoryBytes'],
    code: `const a = []; for (let i = 0; i < 40; i++) a.push(new Array(131072).fill(i)); 'ESCAPED'`,
  },
  {
    name: 'doubles a text',
    defences: ['memoryBytes'],
    code: `let s = 'x'; for (let i = 0; i < 25; i++) { s += s; s.charCodeAt(s.length >> 1); } 'ESCAPED'`,
  },
  {
    name: 'takes typed arrays',
    defences: ['memoryBytes'],
    code: `const a = []; for (let i = 0; i < 60; i++) a.push(new Uint8Array(1 << 20)); 'ESCAPED'`,
  },
  { name: 'takes one large buffer', defences: ['memoryBytes'], code: `new ArrayBuffer(64 * 1024 * 1024); 'ESCAPED'` },
  {
    name: 'keeps what it makes in a map',
    defences: ['memoryBytes', 'fuel'],
    code: `const m = new Map(); for (let i = 0; i < 4e5; i++) m.set(i, { i }); 'ESCAPED'`,
  },
  { name: 'recurses', defences: ['stackBytes'], code: `const f = (n) => (n === 0 ? 0 : f(n - 1) + 1); f(600); 'ESCAPED'` },
  {
    name: 'recurses in functions of the engine',
    defences: ['stackBytes'],
    code: `const f = (n) => (n === 0 ? [] : [1].map(() => f(n - 1))); f(200); 'ESCAPED'`,
  },
  { name: 'nests what is parsed', defences: ['stackBytes'], code: `JSON.parse('['.repeat(7000) + ']'.repeat(7000)); 'ESCAPED'` },
  { name: 'prints on and on', defences: ['maxOutputChars'], code: `for (let i = 0; i < 50; i++) console.log('x'.repeat(1000)); 'ESCAPED'` },
  { name: 'prints lines of nothing', defences: ['maxOutputChars'], code: `for (let i = 0; i < 20000; i++) console.log(); 'ESCAPED'` },
  {
    name: 'prints and catches',
    defences: ['maxOutputChars'],
    code: `for (let i = 0; i < 50; i++) try { console.log('x'.repeat(1000)) } catch {} 'ESCAPED'`,
  },
  {
    name: 'calls tools on and on',
    defences: ['maxCalls'],
    code: `await Promise.race([...Array(20)].map(() => tools.echo({}))); 'never'`,
  },
  { name: 'gives a large value', defences: ['maxOutputChars'], code: `'ESCAPED' + 'x'.repeat(50000)` },
  {
    name: 'looks for the process',
    defences: [],
    code: escaped(`typeof process + typeof require + typeof module + typeof global !== 'undefined'.repeat(4)`),
  },
  {
    name: 'looks for the process in constructors',
    defences: [],
    code: escaped(
      `[[].constructor.constructor, (() => {}).constructor, console.log.constructor, new Error().constructor.constructor, Object.getPrototypeOf(async () => {}).constructor].some((F) => F('return typeof process')() !== 'undefined' && F('return typeof process')().then === undefined)`,
    ),
  },
  {
    name: 'looks for timers and the network',
    defences: [],
    code: escaped(
      `typeof setTimeout + typeof setInterval + typeof fetch + typeof XMLHttpRequest + typeof WebSocket + typeof Worker !== 'undefined'.repeat(6)`,
    ),
  },
  { name: 'looks for WebAssembly', defences: [], code: escaped(`typeof WebAssembly !== 'undefined'`) },
  { name: 'imports a module of the host', defences: [], code: `await import('node:fs'); 'ESCAPED'` },
  { name: 'imports a module of the engine', defences: [], code: `await import('std'); 'ESCAPED'` },
  {
    name: 'measures time',
    defences: [],
    code: escaped(`(() => { const t = Date.now(); for (let i = 0; i < 1e6; i++); return Date.now() !== t })()`),
  },
  { name: 'waits in shared memory', defences: [], code: `Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0, 100); 'ESCAPED'` },
  { name: 'calls a tool that it was not given', defences: [], code: `await tools.shell({ command: 'id' }); 'ESCAPED'` },
];

const largeFile = { type: 'file' as const, content: new Uint8Array(200_000) };
const print = '(drop (call $print (i32.const 0) (i32.const 11)))';
const loop = (times: number, body: string) =>
  `(local $i i32) (loop $l ${body} (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const ${times})))) ${print}`;
const imported = (module: string, name: string, type: string) => `(import "${module}" "${name}" (func $call ${type}))`;
const wasi = 'wasi_snapshot_preview1';
const functions = (text: string) => `\n;; after imports\n${text}`;
/** The lowest bytes of a time are something. */
const something = (at: number) => `(if (i64.eqz (i64.load (i32.const ${at}))) (then (unreachable)))`;

export const moduleAttacks: readonly ModuleAttack[] = [
  { name: 'computes for long', defences: ['fuel'], body: loop(2_000_000, '') },
  {
    name: 'computes for long before it starts',
    defences: ['fuel'],
    body: print,
    more: functions(
      `(func $s (local $i i32) (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 2000000))))) (start $s)`,
    ),
  },
  {
    name: 'computes for long in calls',
    defences: ['fuel'],
    body: `(call $f (i32.const 1000000)) ${print}`,
    more: functions('(func $f (param i32) (if (local.get 0) (then (return_call $f (i32.sub (local.get 0) (i32.const 1))))))'),
  },
  {
    name: 'fills memory by single instructions',
    defences: ['fuel'],
    body: loop(400, '(memory.fill (i32.const 1000) (i32.const 0) (i32.const 60000))'),
  },
  {
    name: 'computes longer than it may take',
    defences: ['wallMs', 'fuel'],
    body: loop(2_400_000, '(memory.fill (i32.const 1000) (i32.const 0) (i32.const 60000))'),
  },
  {
    name: 'grows its memory',
    defences: ['memoryBytes'],
    body: `(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then (unreachable))) ${print}`,
  },
  { name: 'begins with much memory', defences: ['memoryBytes'], body: print, memory: '(memory (export "memory") 1000)' },
  {
    name: 'takes memory that it imports',
    defences: ['memoryBytes'],
    body: `(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then (unreachable))) ${print}`,
    more: '(import "env" "memory" (memory 1 65536))',
    memory: '',
  },
  {
    name: 'grows a table',
    defences: [],
    body: `(if (i32.eq (table.grow $t (ref.null func) (i32.const 400000)) (i32.const -1)) (then (unreachable))) ${print}`,
    more: functions('(table $t 1 funcref)'),
  },
  { name: 'begins with a large table', defences: [], body: print, more: functions('(table 400000 funcref)') },
  {
    name: 'prints on and on',
    defences: ['maxOutputBytes'],
    body: loop(2_000, '(drop (call $print (i32.const 16) (i32.const 64)))').replace(print, ''),
    more: functions('(data (i32.const 16) "                                                                ")'),
  },
  {
    name: 'asks its host on and on',
    defences: ['maxHostCalls'],
    body: loop(200, '(drop (call $call (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 100)))'),
    more: imported(wasi, 'path_filestat_get', '(param i32 i32 i32 i32 i32) (result i32)'),
  },
  {
    name: 'holds large files',
    defences: ['maxFileBytes'],
    body: `(drop (call $call (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 100))) ${print}`,
    more: imported(wasi, 'path_open', '(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)'),
  },
  {
    name: 'is large itself',
    defences: ['maxModuleBytes'],
    body: print,
    memory: '(memory (export "memory") 4)',
    more: functions(`(data (i32.const 70000) "${'x'.repeat(150_000)}")`),
  },
  {
    name: 'reads the time',
    defences: ['clock'],
    body: `(drop (call $call (i32.const 0) (i64.const 0) (i32.const 200))) ${something(200)} ${print}`,
    more: imported(wasi, 'clock_time_get', '(param i32 i64 i32) (result i32)'),
  },
  { name: 'recurses', defences: [], body: `(call $f) ${print}`, more: functions('(func $f (call $f) (call $f))') },
  {
    name: 'imports a function that there is not',
    defences: [],
    body: print,
    more: imported('env', 'system', '(param i32 i32) (result i32)'),
  },
  {
    name: 'imports what objects inherit',
    defences: [],
    body: print,
    more: imported('nexus', 'constructor', '(param i32 i32) (result i32)'),
  },
  { name: 'imports the network', defences: [], body: print, more: imported('nexus', 'http_fetch', '(param i32 i32) (result i32)') },
  {
    name: 'imports sockets',
    defences: [],
    body: `(if (i32.ne (call $call (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 8) (i32.const 0) (i32.const 40)) (i32.const 0)) (then (unreachable))) ${print}`,
    more: imported(wasi, 'sock_recv', '(param i32 i32 i32 i32 i32 i32) (result i32)'),
  },
  { name: 'exports what counts its fuel', defences: [], body: print, more: functions('(func (export "nexus:fuel"))') },
];

/** A module that prints `{"ok":true}` from where its memory begins, and does `body`. */
async function moduleOf({ body, more = '', memory = '(memory (export "memory") 1)' }: ModuleAttack) {
  const [imports = '', rest = ''] = more.split('\n;; after imports\n');
  const text = `(module
    (import "nexus" "output_write" (func $print (param i32 i32) (result i32)))
    ${imports}
    ${memory}
    (data (i32.const 0) "{\\"ok\\":true}")
    ${rest}
    (func (export "_start") ${body}))`;
  const parsed = (await wabt()).parseWat('attack.wat', text, { bulk_memory: true, reference_types: true, tail_call: true });
  try {
    const bytes = Uint8Array.from(parsed.toBinary({}).buffer);
    return { sha256: createHash('sha256').update(bytes).digest('hex'), bytes };
  } finally {
    parsed.destroy();
  }
}

const refuse = () => Promise.reject(new NexusError('policy_denied', 'an attack is granted nothing'));

export async function attemptCode(attack: CodeAttack, without: boolean): Promise<boolean> {
  const limits = { ...near.engine, ...(attack.defences.includes('wallMs') ? { wallMs: 300 } : {}) };
  if (without) for (const defence of attack.defences) limits[defence] = distant.engine[defence];
  const sandbox = createSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, limits });
  try {
    const end = await sandbox.advance({ code: attack.code, tools: ['echo'] });
    if (end.type === 'suspended') return end.calls.length > near.engine.maxCalls;
    return end.type === 'ok' && String(end.value).startsWith('ESCAPED');
  } finally {
    await sandbox.close();
  }
}

export async function attemptModule(attack: ModuleAttack, without: boolean): Promise<boolean> {
  const { defences } = attack;
  const limits = { ...near.module, ...(defences.includes('wallMs') ? { fuel: far.fuel, wallMs: 300 } : {}) };
  const grants = { files: 'read' as const, http: false, clock: false, random: false };
  for (const defence of without ? defences : []) {
    if (defence === 'clock') Object.assign(grants, { clock: true });
    else limits[defence] = distant.module[defence];
  }
  const sandbox = createWasmSandbox({ clock: systemClock, timers: systemTimers, maxThreads: 1, limits });
  try {
    const host = {
      listFolder: refuse,
      fetch: refuse,
      openFile: async (path: string) => (path.length === 5 ? largeFile : { type: 'nothing' as const }),
    };
    const end = await sandbox.run({ module: await moduleOf(attack), name: 'attack', input: null, grants, host });
    // One that prints spaces gives no JSON; that it could print them is what it was after.
    return end.type === 'ok' || (defences.includes('maxOutputBytes') && end.error.code !== 'limit_exceeded');
  } finally {
    await sandbox.close();
  }
}
