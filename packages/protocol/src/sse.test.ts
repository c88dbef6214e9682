import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSseDecoder, SseTooLargeError } from './sse.ts';

type Event = readonly [event: string, data: string, id: string | null];

interface Decoded {
  readonly events: Event[];
  readonly tooLarge: boolean;
}

function decode(chunks: readonly Uint8Array[], maxEventChars = 4_000_000): Decoded {
  const events: Event[] = [];
  const decoder = createSseDecoder({ maxEventChars, onEvent: (event, data, id) => events.push([event, data, id]) });
  try {
    for (const chunk of chunks) decoder.push(chunk);
  } catch (error) {
    if (!(error instanceof SseTooLargeError)) throw error;
    return { events, tooLarge: true };
  }
  return { events, tooLarge: false };
}

const bytesOf = (text: string) => new TextEncoder().encode(text);
const eventsOf = (text: string) => decode([bytesOf(text)]).events;
const cutAt = (bytes: Uint8Array, cuts: readonly number[]) => {
  const at = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort((a, b) => a - b);
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
};
const cutEach = (bytes: Uint8Array, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size));

describe('SSE decoder', () => {
  it.each<[string, string, Event[]]>([
    ['one event', 'data: a\n\n', [['', 'a', null]]],
    ['no space after the colon', 'data:a\n\n', [['', 'a', null]]],
    ['only one space is dropped', 'data:  a\n\n', [['', ' a', null]]],
    ['a value that is nothing, or one space', 'data:\ndata: \ndata: b\n\n', [['', '\n\nb', null]]],
    ['data of several lines', 'data: a\ndata: b\n\n', [['', 'a\nb', null]]],
    ['an empty data line', 'data\n\n', [['', '', null]]],
    [
      'a named event, for that event only',
      'event: x\ndata: a\n\ndata: b\n\n',
      [
        ['x', 'a', null],
        ['', 'b', null],
      ],
    ],
    ['the last name of an event', 'event: x\nevent\ndata: a\n\n', [['', 'a', null]]],
    ['a name without data is forgotten', 'event: x\n\ndata: b\n\n', [['', 'b', null]]],
    [
      'an id, for its own event',
      'id: 12.5\ndata: a\n\ndata: b\n\nid\ndata: c\n\n',
      [
        ['', 'a', '12.5'],
        ['', 'b', null],
        ['', 'c', ''],
      ],
    ],
    ['no id with a NUL in it', 'id: 1\nid: 2\u00003\ndata: a\n\n', [['', 'a', '1']]],
    ['CRLF', 'data: a\r\ndata: b\r\n\r\n', [['', 'a\nb', null]]],
    [
      'CR',
      'data: a\r\rdata: b\r\r',
      [
        ['', 'a', null],
        ['', 'b', null],
      ],
    ],
    ['comments and unknown fields', ': ping\n:\nretry: 5\nfoo: bar\ndatas: x\n data: y\ndata: a\n\n', [['', 'a', null]]],
    ['a byte order mark, at the start only', '\uFEFFdata: a\n\n\uFEFFdata: b\n\n', [['', 'a', null]]],
    ['an event that the end leaves open', 'data: a\n\ndata: b\n', [['', 'a', null]]],
    ['blank lines alone', '\n\n\n', []],
    ['no text at all', '', []],
  ])('reads %s', (_what, text, events) => {
    expect(eventsOf(text)).toEqual(events);
  });

  it('replaces bytes that are no UTF-8 as the platform does, wherever they are cut', () => {
    for (const wrong of [
      [0xff],
      [0xe4, 0x41],
      [0xc3],
      [0xf0, 0x9f, 0x98],
      [0xf0, 0x9f, 0xe4, 0xbd, 0xa0],
      [0x80, 0x80],
      [0xed, 0xa0, 0x80],
    ]) {
      const bytes = Uint8Array.from([...bytesOf('data: <'), ...wrong, ...bytesOf('>\n\n')]);
      const text = new TextDecoder().decode(Uint8Array.from([0x3c, ...wrong, 0x3e]));
      for (let cut = 0; cut < bytes.length; cut++) expect(decode(cutAt(bytes, [cut])).events).toEqual([['', text, null]]);
      expect(decode(cutEach(bytes, 1)).events).toEqual([['', text, null]]);
    }
  });

  const line = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => `data: ${text.replace(/[\r\n]/g, '')}`),
    fc.constantFrom('', '', 'event: x', ': comment', 'data', 'data: 😀é漢', 'id: 3', 'id', '\uFEFF'),
  );
  const stream = fc
    .array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 20 })
    .map((lines) => bytesOf(lines.map(([text, end]) => text + end).join('')));

  it('gives the same events, and the same refusal, however the bytes are cut [verifies provider.codec.chunks]', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(400), { maxLength: 30 }), fc.constantFrom(9, 20, 4_000_000), (bytes, cuts, limit) => {
        const whole = decode([bytes], limit);
        expect(decode(cutAt(bytes, cuts), limit)).toEqual(whole);
        expect(decode(cutEach(bytes, 1), limit)).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['a line that never ends', ['data: ', ...Array.from({ length: 11 }, () => 'x'.repeat(10))]],
    ['a comment that never ends', [':', ...Array.from({ length: 11 }, () => 'x'.repeat(10))]],
    ['a long line in one piece', [`: ${'x'.repeat(100)}\n\n`]],
    ['data of many lines', ['data: 1234567890\n'.repeat(10)]],
  ])('refuses %s', (_what, texts) => {
    expect(decode(texts.map(bytesOf), 100)).toEqual({ events: [], tooLarge: true });
  });

  it('takes an event of exactly the limit, again and again', () => {
    const text = `data:${'x'.repeat(95)}\n\n`.repeat(3);
    expect(decode([bytesOf(text)], 100)).toMatchObject({ tooLarge: false, events: { length: 3 } });
    expect(decode([bytesOf(text)], 99)).toMatchObject({ tooLarge: true, events: { length: 0 } });
  });

  it('takes time in proportion to an event, not to its square, when it comes in small pieces', () => {
    const costOf = (megabytes: number) => {
      const chunks = cutEach(bytesOf(`data: ${'x'.repeat(megabytes * 1_000_000)}\n\n`), 1_000);
      // The least of many: whatever else the machine does only adds.
      const times = Array.from({ length: 15 }, () => {
        const startedMs = performance.now();
        expect(decode(chunks, 10_000_000).events).toHaveLength(1);
        return performance.now() - startedMs;
      });
      return Math.min(...times);
    };
    costOf(1);
    expect(costOf(8) / costOf(1)).toBeLessThan(32); // in proportion: 8; its square: 64
  });
});
