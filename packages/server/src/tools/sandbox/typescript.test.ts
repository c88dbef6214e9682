import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemTimers } from '#core';
import { createSandbox, type Sandbox } from '#tools';

let sandbox: Sandbox;
beforeAll(() => {
  sandbox = createSandbox({
    clock: systemClock,
    timers: systemTimers,
    limits: { fuel: 500, wallMs: 2_000, memoryBytes: 32 * 1024 * 1024 },
  });
});
afterAll(() => sandbox.close());

async function give(code: string): Promise<unknown> {
  const result = await sandbox.run({ code });
  return result.type === 'ok' ? result.value : `${result.error.code}: ${result.error.message}`;
}

const typed = `interface Row { readonly name: string; amount?: number }
type Sum<T extends Row> = (rows: readonly T[]) => number;
const sum: Sum<Row> = (rows) => rows.reduce((all, row) => all + (row.amount ?? 0), 0);
const rows = [{ name: 'a', amount: 1 }, { name: 'b', amount: 2 }] satisfies Row[];
abstract class Base<T> { protected abstract readonly given: T; declare later: string; give(this: Base<T>): T { return this.given!; } }
class Own extends Base<number> { override readonly given = sum(rows as Row[]); }
new Own().give()`;

describe('TypeScript', () => {
  it('runs without its types, as a script and with a return at the top level [verifies code.typescript]', async () => {
    expect(await give(typed)).toBe(3);
    expect(await give('const double = async <T extends number>(x: T): Promise<number> => x * 2;\nreturn (await double(4)) as number')).toBe(
      8,
    );
    expect(await give('import type { Row } from "./rows"; const ü: "ééé€😀" = "ééé€😀"; ü')).toBe('ééé€😀');
  });

  it('keeps lines true [verifies code.typescript]', async () => {
    const code = 'type A = {\n  a: number;\n};\nconst f = (a: A):\n  number => a.a;\nf(null!)';
    expect(await give(code)).toMatch(/^sandbox_code_error: TypeError: .*\(line 5\)$/);
    expect(await give('let a: number = 1;\nif (a) return (a as any).b.c')).toMatch(/\(line 2\)$/);
    expect(await give('let a: number = 1;\n\nlet b: string = ;')).toBe('sandbox_code_error: SyntaxError: Expression expected (line 3)');
  });

  it.each([
    ['enums', 'let a: number = 1;\nenum Colour { Red }', 2],
    ['namespaces', 'namespace A { export const b = 1 }', 1],
    ['parameter properties', 'class A { constructor(private b: number) {} }', 1],
    ['casts in angle brackets', 'const a = <number>b;', 1],
  ])('says what it does not translate: %s [verifies code.typescript]', async (_, code, line) => {
    const result = await sandbox.run({ code });
    expect(result).toMatchObject({ type: 'error', error: { code: 'sandbox_code_error', details: { line } } });
    expect(await give(code)).toMatch(/not supported.*types are removed here, and nothing else of TypeScript is translated/);
  });

  it('leaves what is JavaScript as it is, whatever it would mean in TypeScript [verifies code.typescript]', async () => {
    expect(await give('const [f, a, b] = [3, 2, 1]; [f<a>(b), f < a > (b)]')).toEqual([false, false]);
    expect(await give('var type = 1\ntype\n= 2; with ({ type: 5 }) { type }')).toBe(5);
    const plain = 'let n = 0; for (let i = 0; i < 300000; i++) n += i; n';
    const [one, other] = await Promise.all([plain, plain.replace('n = 0', 'n: number = 0')].map((code) => sandbox.run({ code })));
    expect(one?.fuelUsed).toBeGreaterThan(10);
    expect(other).toMatchObject({ type: 'ok', value: 44999850000, fuelUsed: one?.fuelUsed });
  });

  it('bounds the reading of hostile text, and reads on with a parser of its own [verifies code.typescript-hostile]', {
    timeout: 60_000,
  }, async () => {
    const most = 200_000;
    const texts = ['(', '[', '{', '<', 'a<', '(a', 'a?', '(a?(', '${`', 'a+', '!', 'x as ', '/*', '\0', 'let a:b;\n', '(a=(b=(', 'a:'];
    const hostile = texts.flatMap((text) => [text.repeat(most / text.length), `let x: ${text.repeat(most / text.length - 4)}`]);
    // A few hundred characters that take a parser which tries again a minute.
    hostile.push(`let x: number;\n${'a ? (b) : c => d ? (e) : f => '.repeat(12)}`);
    await give('let ready: number = 1');
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const codes = await Promise.all(
      hostile.map(async (code) => {
        const result = await sandbox.run({ code });
        return result.type === 'error' ? `${result.error.code} ${result.error.details?.limit ?? ''}`.trimEnd() : 'ok';
      }),
    );
    delay.disable();
    expect(codes).not.toContain('ok');
    expect(codes.at(-1)).toBe('limit_exceeded wall');
    expect(delay.percentile(99) / 1e6).toBeLessThan(250);
    expect(await give('let ready: number = 2; ready')).toBe(2);
  });
});
