import type { NewEvent } from '@nexus-agent/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LedgerOutcome } from '#ledger';
import { assumedEvents, charge, merge, propose, release, settle } from './proposal.ts';

const restarted = (reason: string): NewEvent => ({
  type: 'step.restarted',
  data: { step: 1, callId: 'c', kind: 'tool', attempt: 1, reason },
});

describe('merged proposals', () => {
  it('give each part the outcomes of its own operations, and keep the order of everything', () => {
    const shape = fc.array(fc.array(fc.constantFrom('settle', 'release', 'charge'), { maxLength: 3 }), { maxLength: 6 });
    fc.assert(
      fc.property(shape, (parts) => {
        const tokensOf = (outcomes: readonly LedgerOutcome[]) =>
          outcomes.map((outcome) => (outcome.type === 'settled' ? (outcome.amounts.tokens ?? -1) : -1)).join();
        const proposals = parts.map((operations, part) =>
          propose({
            ledger: operations.map((type, index) => ({ type: type as 'release', reservationId: `${part}-${index}` })),
            events: (outcomes) => [restarted(`${part}: ${tokensOf(outcomes)}`)],
          }),
        );
        const merged = merge(proposals);
        const outcomes = merged.ledger.map((_, tokens): LedgerOutcome => ({ type: 'settled', amounts: { tokens }, outcome: 'settled' }));
        expect(merged.ledger).toEqual(proposals.flatMap((proposal) => proposal.ledger));
        const rest = [...outcomes];
        const own = parts.map((operations, part) => restarted(`${part}: ${tokensOf(rest.splice(0, operations.length))}`));
        expect(merged.events(outcomes)).toEqual(own);
        // Merging in two goes is merging at once.
        const twice = merge([merge(proposals.slice(0, 2)), merge(proposals.slice(2))]);
        expect(twice.events(outcomes)).toEqual(merged.events(outcomes));
      }),
    );
  });

  it('let the later change of the run win', () => {
    const patch = merge([propose({ patch: { status: 'running', step: 2 } }), propose({ patch: { status: 'waiting' } })]).patch;
    expect(patch).toEqual({ status: 'waiting', step: 2 });
  });

  it('journal a settlement as the ledger says it went, and none that changed nothing', () => {
    const amounts = { tokens: 5 };
    expect(assumedEvents(settle('r', amounts))).toEqual([
      { type: 'budget.settled', data: { reservationId: 'r', amounts, outcome: 'settled' } },
    ]);
    expect(settle('r', amounts).events([{ type: 'settled', amounts: { tokens: 7 }, outcome: 'late_usage' }])[0]?.data).toMatchObject({
      amounts: { tokens: 7 },
      outcome: 'late_usage',
    });
    for (const proposal of [settle('r', amounts), release('r'), charge('r')])
      expect(proposal.events([{ type: 'ignored', reason: 'already_final' }])).toEqual([]);
    expect(assumedEvents(charge('r'))[0]?.data).toMatchObject({ amounts: {}, outcome: 'charged_maximum' });
    expect(assumedEvents(release('r'))[0]?.data).toMatchObject({ amounts: {}, outcome: 'released' });
  });
});
