import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundError, boundText } from './bounds.ts';

describe('a bounded text', () => {
  it('is whole up to its bound, and says from the next character on that it was cut', () => {
    const whole = 'x'.repeat(500);
    expect(boundText(whole, 500)).toBe(whole);
    const cut = boundText(`${whole}y`, 500);
    expect(cut).toMatch(/^x+\n\[output cut: the first \d+ of 501 characters are shown; /);
    expect(cut).toHaveLength(500);
    const shown = Number(/first (\d+) of/.exec(cut)?.[1]);
    expect(cut.indexOf('\n')).toBe(shown);
  });

  it('never has more characters than it may, and no half of a pair', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 400 }), fc.nat(400), (text, maxChars) => {
        const bounded = boundText(text, maxChars);
        expect(bounded.length).toBeLessThanOrEqual(maxChars);
        expect(bounded.isWellFormed()).toBe(true);
        if (text.length <= maxChars) expect(bounded).toBe(text);
      }),
    );
  });
});

describe('a bounded error', () => {
  const error = { code: 'tool_failed' as const, message: 'm'.repeat(60), retryable: false };

  it('keeps details as long as they fit beside the message, and leaves them out whole', () => {
    const details = { why: 'd'.repeat(30) };
    const room = error.message.length + JSON.stringify(details).length;
    expect(boundError({ ...error, details }, room)).toEqual({ ...error, details });
    expect(boundError({ ...error, details }, room - 1)).toEqual(error);
  });

  it('leaves out what cannot be sent as JSON', () => {
    const details: Record<string, unknown> = {};
    details.self = details;
    expect(boundError({ ...error, details }, 10_000)).toEqual(error);
  });
});
