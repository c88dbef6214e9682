import type { BudgetUnit } from '@nexus-agent/protocol';
import { NexusError } from './errors.ts';

/** What a person may name as the unit of a limit: dollars besides the units of the ledger. */
export type LimitUnit = 'usd' | BudgetUnit;

export const limitUnits: readonly LimitUnit[] = ['usd', 'costMicroUsd', 'tokens', 'toolCalls', 'wallMs'];

/** The largest limit that the ledger keeps exactly. */
const maxAmount = 1_000_000_000_000;

/** Counts such as `200k`, and times. */
const otherUnits = /^\s*\d[\d.,]*\s*(?:k|ms|[smhd])\s*$/i;

/** Millionths of a dollar from `$25`, `25usd`, `25 USD`, `0.50` or `1,000`: an amount of money in dollars. Throws `invalid_request` for what is none. */
function microUsdOf(text: string): number {
  const found = /^(\$)?\s*(\d{1,9}|\d{1,3}(?:,\d{3})+)?(?:\.(\d{0,20}))?\s*(usd|dollars?)?$/i.exec(text.trim());
  const [, , whole = '', fraction = ''] = found ?? [];
  if (found === null || whole + fraction === '') {
    const hint = otherUnits.test(text) ? '; tokens, calls and time are meant with their unit, as in --unit tokens' : '';
    const got = JSON.stringify(text.slice(0, 40));
    throw new NexusError('invalid_request', `expected an amount in US dollars such as 0.50, $25 or 25usd, got ${got}${hint}`);
  }
  if (fraction.replace(/0+$/, '').length > 6) throw new NexusError('invalid_request', 'the smallest amount is a millionth of a dollar');
  return checked(Number(whole.replaceAll(',', '')) * 1_000_000 + Number(fraction.slice(0, 6).padEnd(6, '0')));
}

const multiples: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6 };
const durations: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3 };

/**
 * A limit in the unit of the ledger: money in dollars, but whole millionths where `costMicroUsd` itself was asked for; counts
 * such as `200000` or `200k`; times such as `90s`, `10m` or `500ms`. Throws `invalid_request` for what is none.
 */
export function limitOf(text: string, unit: LimitUnit): { readonly unit: BudgetUnit; readonly limit: number } {
  switch (unit) {
    case 'usd':
      return { unit: 'costMicroUsd', limit: microUsdOf(text) };
    case 'costMicroUsd': {
      if (/^\d{1,13}$/.test(text)) return { unit, limit: checked(Number(text)) };
      if (/^\s*\$|[a-z]\s*$/i.test(text)) return { unit, limit: microUsdOf(text) };
      throw new NexusError(
        'invalid_request',
        'with --unit costMicroUsd an amount is whole millionths of a dollar; leave the unit out for dollars',
      );
    }
    case 'tokens':
    case 'toolCalls':
      return {
        unit,
        limit: scaled(text, multiples, `a whole number of ${unit === 'tokens' ? 'tokens' : 'tool calls'} such as 200000 or 200k`),
      };
    case 'wallMs':
      return { unit, limit: scaled(text, durations, 'a time with its unit, such as 90s, 10m, 2h or 500ms') };
  }
}

function scaled(text: string, factors: Readonly<Record<string, number>>, expected: string): number {
  const [, digits = '', suffix = ''] = /^(\d{1,13}(?:\.\d{1,6})?)\s*([a-z]*)$/.exec(text.trim().toLowerCase()) ?? [];
  const amount = Number(digits) * (factors[suffix] ?? Number.NaN);
  if (digits === '' || !Number.isSafeInteger(amount))
    throw new NexusError('invalid_request', `expected ${expected}, got ${JSON.stringify(text.slice(0, 40))}`);
  return checked(amount);
}

function checked(amount: number): number {
  if (amount > maxAmount)
    throw new NexusError('invalid_request', 'that is more than can be counted; without a limit nothing needs to be set');
  return amount;
}
