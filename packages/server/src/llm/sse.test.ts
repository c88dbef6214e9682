import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSseDecoder } from './sse.ts';

type Event = readonly [string, string];

function decode(chunks: readonly Buffer[], maxEventChars?: number): Event[] {
  const events: Event[] = [];
  const decoder = createSseDecoder({
    onEvent: (event, data) => events.push([event, data]),
    ...(maxEventChars === undefined ? {} : { maxEventChars }),
  });
  for (const chunk of chunks) decoder.push(chunk);
  return events;
}

const decodeText = (text: string) => decode([Buffer.from(text)]);

describe('SSE decoder', () => {
  it.each<[string, string, Event[]]>([
    ['one event', 'data: a\n\n', [['', 'a']]],
    ['no space after the colon', 'data:a\n\n', [['', 'a']]],
    ['only one space is dropped', 'data:  a\n\n', [['', ' a']]],
    ['data of several lines', 'data: a\ndata: b\n\n', [['', 'a\nb']]],
    ['an empty data line', 'data\n\n', [['', '']]],
    [
      'a named event, for that event only',
      'event: x\ndata: a\n\ndata: b\n\n',
      [
        ['x', 'a'],
        ['', 'b'],
      ],
    ],
    ['a name without data is forgotten', 'event: x\n\ndata: b\n\n', [['', 'b']]],
    ['CRLF', 'data: a\r\ndata: b\r\n\r\n', [['', 'a\nb']]],
    [
      'CR',
      'data: a\r\rdata: b\r\r',
      [
        ['', 'a'],
        ['', 'b'],
      ],
    ],
    ['comments and unknown fields', ': ping\nid: 1\nretry: 5\nfoo: bar\ndata: a\n\n', [['', 'a']]],
    ['a byte order mark', '\uFEFFdata: a\n\n', [['', 'a']]],
    ['an event that the end leaves open', 'data: a\n\ndata: b\n', [['', 'a']]],
    ['blank lines alone', '\n\n\n', []],
  ])('reads %s', (_what, text, events) => {
    expect(decodeText(text)).toEqual(events);
  });

  it('gives the same events however the bytes are cut [verifies provider.codec.chunks]', () => {
    const line = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => `data: ${text.replace(/[\r\n]/g, '')}`),
      fc.constantFrom('', '', 'event: x', ': comment', 'data', 'data: 😀é漢', 'id: 3', '\uFEFF'),
    );
    const stream = fc
      .array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 20 })
      .map((lines) => Buffer.from(lines.map(([text, end]) => text + end).join('')));
    fc.assert(
      fc.property(stream, fc.array(fc.nat(400), { maxLength: 30 }), (bytes, cuts) => {
        const at = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort((a, b) => a - b);
        const chunks = at.slice(1).map((end, index) => bytes.subarray(at[index], end));
        expect(decode(chunks)).toEqual(decode([bytes]));
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(stream, (bytes) => {
        expect(decode(Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(decode([bytes]));
      }),
      { numRuns: 100 },
    );
  });

  it('refuses a line and an event that grow without end', () => {
    expect(() => decode([Buffer.from('data: '), ...Array.from({ length: 20 }, () => Buffer.alloc(10, 120))], 100)).toThrow(
      expect.objectContaining({ code: 'provider_malformed' }),
    );
    expect(() => decode([Buffer.from('data: 1234567890\n'.repeat(20))], 100)).toThrow(
      expect.objectContaining({ code: 'provider_malformed' }),
    );
  });
});
