import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limitOf, limitUnits } from './amounts.ts';

const microUsdOf = (text: string) => limitOf(text, 'usd').limit;

describe('an amount of money', () => {
  it.each([
    ['25', 25_000_000],
    ['$25', 25_000_000],
    ['25usd', 25_000_000],
    ['25 USD', 25_000_000],
    ['1 dollar', 1_000_000],
    ['0.50', 500_000],
    ['.5', 500_000],
    ['$0.000001', 1],
    ['5.', 5_000_000],
    ['1,000', 1_000_000_000],
    ['0', 0],
    ['0.1000000000', 100_000],
    ['1.1', 1_100_000],
    ['0.29', 290_000],
  ])('%s is %i millionths of a dollar', (text, microUsd) => {
    expect(microUsdOf(text)).toBe(microUsd);
  });

  it.each([
    '',
    '$',
    '.',
    '-1',
    '1e3',
    '0x10',
    'Infinity',
    'NaN',
    '€5',
    '5eur',
    '0,50',
    '1,00',
    '1 000',
    '5c',
    '0.0000001',
    '99999999',
    '1usd2',
  ])('%s is none', (text) => {
    expect(() => microUsdOf(text)).toThrow();
  });

  it.each(['200k', '10m', '500ms', '1.5h'])('%s is told to want its unit', (text) => {
    expect(() => microUsdOf(text)).toThrow(/as in --unit tokens$/);
  });

  it('is exact to the millionth, however it is written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000_000_000 }), (microUsd) => {
        const text = `${Math.floor(microUsd / 1_000_000)}.${String(microUsd % 1_000_000).padStart(6, '0')}`;
        for (const written of [text, `$${text}`, `${text}usd`]) expect(microUsdOf(written)).toBe(microUsd);
      }),
    );
  });
});

describe('a limit', () => {
  it.each([
    ['25', 'usd', 'costMicroUsd', 25_000_000],
    ['25', 'costMicroUsd', 'costMicroUsd', 25],
    ['$25', 'costMicroUsd', 'costMicroUsd', 25_000_000],
    ['200000', 'tokens', 'tokens', 200_000],
    ['200k', 'tokens', 'tokens', 200_000],
    ['1.5M', 'tokens', 'tokens', 1_500_000],
    ['30', 'toolCalls', 'toolCalls', 30],
    ['1500ms', 'wallMs', 'wallMs', 1_500],
    ['90s', 'wallMs', 'wallMs', 90_000],
    ['1.5h', 'wallMs', 'wallMs', 5_400_000],
    ['10m', 'wallMs', 'wallMs', 600_000],
  ] as const)('of %s in %s is %s %i', (text, asked, unit, limit) => {
    expect(limitOf(text, asked)).toEqual({ unit, limit });
  });

  it.each([
    ['0.5', 'costMicroUsd'],
    ['$5', 'tokens'],
    ['5usd', 'toolCalls'],
    ['1.5', 'tokens'],
    ['10x', 'wallMs'],
    ['1500', 'wallMs'],
    ['2000000000000', 'tokens'],
    ['', 'tokens'],
  ] as const)('of "%s" in %s is refused', (text, unit) => {
    expect(() => limitOf(text, unit)).toThrow();
  });

  it('is never a number of another size than was written', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), fc.constantFrom(...limitUnits), (text, unit) => {
        try {
          const { limit } = limitOf(text, unit);
          expect(Number.isSafeInteger(limit) && limit >= 0).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid_request' });
        }
      }),
    );
  });
});
