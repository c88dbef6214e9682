import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import type { ToolCallEnd } from '#tools';
import { createJail, type Jail, type JailLimits } from '#tools/sandbox';
import { createWorkspaces } from '#tools/workspace';
import { createTestToolService, makeToolCall, readCall } from '../../testing/index.ts';
import { createCodePythonTool } from './code-python.ts';
import { createJailedCalls } from './jailed-call.ts';

const mebibyte = 1024 * 1024;
const limits: JailLimits = {
  ...{ wallMs: 30_000, cpuMs: 20_000, memoryBytes: 128 * mebibyte, processes: 32, files: 64, fileBytes: mebibyte, outputBytes: 100_000 },
};
const network = {
  ...{ enabled: false, egress: {}, connections: 1, totalConnections: 1, bytesOut: 1, bytesIn: 1, bytesPerSecond: 1, headerBytes: 1 },
  ...{ idleMs: 1, connectionMs: 1 },
};

const reason = await createJail({ clock: systemClock, timers: systemTimers }).refusal();
if (reason === null) describe('code_python', suite);
else describe('code_python', () => it.skip(`not run: ${reason}`));

function suite() {
  let workspace: string;
  let jail: Jail;
  beforeAll(async () => {
    workspace = await mkdtemp(join(tmpdir(), 'nexus-python-'));
    jail = createJail({ clock: systemClock, timers: systemTimers });
  });
  afterAll(async () => {
    await jail.close();
    await rm(workspace, { recursive: true, force: true });
  });

  async function python(code: string, input?: unknown, within = jail): Promise<ToolCallEnd> {
    const jailed = createJailedCalls({ jail: within, clock: systemClock, timers: systemTimers, limits, network });
    const service = createTestToolService([createCodePythonTool(jailed)], { workspace, workspaces: createWorkspaces() });
    const call = { code, ...(input === undefined ? {} : { input }) };
    return readCall(service, makeToolCall({ toolName: 'code_python', input: call, timeoutMs: 60_000 }));
  }
  const failed = async (code: string) => {
    const end = await python(code);
    return end.type === 'failed' ? end.error : end;
  };
  const gave = async (code: string, input?: unknown) => {
    const end = await python(code, input);
    return end.type === 'completed' ? JSON.parse(end.output) : end;
  };

  it('an error names the line of the code where it came about [verifies tools.python.errors]', async () => {
    expect(await failed('def f():\n  return {}["k"]\n\nx = 1\nf()')).toMatchObject({
      code: 'sandbox_code_error',
      message: expect.stringMatching(/line 5, in <module>\n {4}f\(\)\n.*line 2, in f\n.*KeyError: 'k'\n\[exit code 1\]$/s),
      details: { line: 2 },
    });
    expect(await failed('x = 1\nif x\n  y')).toMatchObject({
      code: 'sandbox_code_error',
      message: expect.stringContaining('SyntaxError'),
      details: { line: 2 },
    });
    // Broken code that the code itself reads is a fault of the line that reads it.
    expect(await failed('x = 1\ny = 2\neval("1 +")')).toMatchObject({
      message: expect.stringContaining('line 3, in <module>'),
      details: { line: 3 },
    });
    expect(await failed('class A:\n  def __repr__(self): raise ValueError("no")\nA()')).toMatchObject({
      details: { line: 2 },
      message: expect.stringContaining('ValueError: no'),
    });
    // In a library the line is that of the code which called it.
    expect(await failed('import json\n\njson.loads("{")')).toMatchObject({ details: { line: 3 } });
  });

  it('what it may not take is the limit that every sandbox names [verifies tools.python.limits]', async () => {
    expect(await failed('x = []\nwhile True:\n  x.append(bytearray(1 << 20))')).toMatchObject({
      code: 'limit_exceeded',
      message: `the code used up its ${128 * mebibyte} bytes of memory (line 3)`,
      details: { limit: 'memory', line: 3 },
    });
    // To the last byte.
    expect(await failed('def f():\n  x = []\n  while True:\n    x.append([1])\nf()')).toMatchObject({ details: { limit: 'memory' } });
    expect(await failed('def f(n):\n  return f(n + 1)\nf(0)')).toMatchObject({
      code: 'limit_exceeded',
      message: 'the code recursed too deeply (line 2)',
      details: { limit: 'stack', line: 2 },
    });
    expect(await failed('while True: print("x" * 1000)')).toMatchObject({ code: 'limit_exceeded', details: { limit: 'output' } });
    expect(await failed('import ctypes\nctypes.string_at(0)')).toMatchObject({
      code: 'sandbox_code_error',
      message: expect.stringMatching(/^(Python was ended by SIG|the code ended early).*\[exit code 139\]$/s),
    });
  });

  it('a value is JSON, or what it looks like, whatever is printed around it [verifies tools.python.value]', async () => {
    expect(await gave('import atexit\natexit.register(print, "late")\nprint("early")\n[1, None, 2.5, "é\\n"]')).toEqual({
      value: [1, null, 2.5, 'é\n'],
      logs: 'early\nlate\n',
    });
    expect(await gave('x = []\nx.append(x)\nx')).toEqual({ value: '[[...]]' });
    expect(await gave('{(1, 2): {3}}')).toEqual({ value: '{(1, 2): {3}}' });
    expect(await gave('input["a"][1]', { a: [1, 'ü'] })).toEqual({ value: 'ü' });
    expect(await gave('import sys\nprint("x", file=sys.stderr)\nsys.exit(0)')).toEqual({ value: null, logs: 'x\n' });
    expect(await gave('"\\ud800"')).toEqual({ value: expect.any(String) });
  });

  it('what a call left behind that failed is gone, and the next one starts anew [verifies tools.python.errors]', async () => {
    expect(await gave('kept = 1\n__import__("sys").modules["json"] = None\n1')).toEqual({ value: 1 });
    expect(await failed('kept')).toMatchObject({ message: expect.stringContaining("NameError: name 'kept' is not defined") });
    expect(await readdir(workspace)).toEqual([]);
  });

  it('says where nothing can be jailed what computes all the same [verifies tools.jail.refused]', async () => {
    const nowhere = createJail({ clock: systemClock, timers: systemTimers, bubblewrap: '/nowhere/bwrap' });
    const end = await python('1', undefined, nowhere);
    expect(end).toMatchObject({ type: 'failed', error: { code: 'sandbox_unavailable', retryable: false } });
    expect(end.type === 'failed' && end.error.message).toMatch(/; code_js computes without a jail$/);
  });
}
