import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { ErrorInfo } from '@nexus-agent/protocol';
import { describe, expect, it } from 'vitest';
import { toProblem } from '#core';
import { readJson } from './body.ts';

const limits = { bytes: 10_000_000, values: 1_000 };
/** A request that arrives in pieces of so many bytes. */
function request(text: string, pieceBytes = 7): IncomingMessage {
  const bytes = Buffer.from(text);
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, at) =>
    bytes.subarray(at * pieceBytes, (at + 1) * pieceBytes),
  );
  return Object.assign(Readable.from(pieces, { objectMode: false }), { headers: {} }) as unknown as IncomingMessage; // all that is read of one
}

describe('a body [verifies hostile.stall.bodies]', () => {
  it('is read whatever the pieces are that it comes in', async () => {
    const value = { 'ä𝒳"\\': ['[{,}]', '\u2028', 1e21, -0.5, null, true, { constructor: 'x' }], n: 123456789012345 };
    for (const bytes of [1, 2, 3, 5, 64]) expect(await readJson(request(JSON.stringify(value), bytes), limits)).toEqual(value);
    expect(await readJson(request(`\uFEFF{"a":1}`), limits)).toEqual({ a: 1 });
    expect(await readJson(request(''), limits)).toBeUndefined();
  });

  it.each<[string, string, string, RegExp]>([
    ['more values than are taken', `[${'1,'.repeat(1_200)}1]`, 'payload_too_large', /more than the 1000 values/],
    ['more nesting than is taken', '['.repeat(300), 'invalid_request', /nests deeper than 256/],
    ['a number of many digits', `[${'1'.repeat(2_000)}]`, 'invalid_request', /1000 digits/],
    ['escapes without number', `"${'\\n'.repeat(1_600_000)}"`, 'payload_too_large', /escaped characters/],
    ['more bytes than are taken', `"${'x'.repeat(10_000_001)}"`, 'payload_too_large', /larger than the 10000000 bytes/],
    ['no JSON', '{"a":', 'invalid_request', /not valid JSON/],
    ['a prototype', '{"a":{"__proto__":{}}}', 'invalid_request', /no names/],
    ['a prototype, escaped', '{"a":{"__pr\\u006fto__":{}}}', 'invalid_request', /no names/],
    ['the prototype of a constructor', '[{"constructor":{"prototype":{}}}]', 'invalid_request', /no names/],
  ])('with %s is refused with the reason', async (_, text, code, message) => {
    await expect(readJson(request(text, 65_536), limits)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('that states more bytes than are taken is refused before it comes', async () => {
    const large = Object.assign(request('{}'), { headers: { 'content-length': '10000001' } });
    await expect(readJson(large, limits)).rejects.toMatchObject({ code: 'payload_too_large' });
  });

  it('whose sender goes away ends at once', async () => {
    const left = request('{"a":');
    left.destroy(new Error('reset'));
    await expect(readJson(left, limits)).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('a problem [verifies hostile.stall.bodies]', () => {
  const problem = (changes: Partial<ErrorInfo>) => toProblem({ code: 'invalid_request', message: 'wrong', ...changes });
  const long = (char: string) => char.repeat(1_000_000);

  it.each<[string, Partial<ErrorInfo>]>([
    ['a long detail', { message: long('a') }],
    ['control characters', { message: long('\u0001'), details: { a: long('\u0002'), b: [long('\u0003')] } }],
    ['many issues', { details: { issues: Array.from({ length: 100_000 }, () => ({ path: 'a.b', message: long('ü') })) } }],
    ['many names', { details: Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`${'𝒳'.repeat(300)}${at}`, at])) }],
    ['lists in lists', { details: { a: JSON.parse(`${'['.repeat(200)}${'1,'.repeat(10_000)}1${']'.repeat(200)}`) } }],
  ])('with %s has at most 16 KB as it is sent', (_, changes) => {
    expect(Buffer.byteLength(JSON.stringify(problem(changes)))).toBeLessThanOrEqual(16 * 1024);
  });

  it('of the usual size is sent as it is', () => {
    const details = { issues: [{ path: 'a', message: 'expected text, got 7' }], scope: { kind: 'run', id: 'run_1' }, limit: 5, none: null };
    expect(problem({ details })).toMatchObject({ detail: 'wrong', details });
  });
});
