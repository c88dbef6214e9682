import fc from 'fast-check';
import { expect, it } from 'vitest';
import { askBreaker, type BreakerPass, type BreakerRules, type BreakerState, closedBreaker, tellBreaker } from './breaker.ts';

const rules = fc.record({
  failures: fc.integer({ min: 1, max: 4 }),
  windowMs: fc.integer({ min: 1, max: 50 }),
  openMs: fc.integer({ min: 1, max: 50 }),
});
const step = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ type: 'ask' as const }) },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('end' as const),
      at: fc.nat(20),
      verdict: fc.constantFrom('works' as const, 'fails' as const, 'unknown' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.nat(40) }) },
);

/** What the breaker must do, told from everything that has happened: no state of its own but lists. */
class Model {
  readonly #rules: BreakerRules;
  phase: 'closed' | 'open' | 'trying' = 'closed';
  /** Grows whenever the phase changes. */
  age = 0;
  openedAt = 0;
  againAt = 0;
  /** Ends since it closed. */
  ends: { readonly verdict: string; readonly at: number }[] = [];

  constructor(given: BreakerRules) {
    this.#rules = given;
  }

  turn(phase: Model['phase']): void {
    this.phase = phase;
    this.age += 1;
    this.ends = [];
  }

  mayPass(now: number): boolean {
    return this.phase === 'closed' || (this.phase === 'open' && now >= this.againAt);
  }

  ended(age: number, verdict: string, now: number): void {
    if (age !== this.age) return;
    const { failures, windowMs, openMs } = this.#rules;
    const open = (forMs: number) => {
      this.againAt = now + forMs;
      this.turn('open');
    };
    if (this.phase === 'trying') {
      if (verdict === 'works') this.turn('closed');
      else open(verdict === 'fails' ? openMs : 0);
      return;
    }
    this.ends.push({ verdict, at: now });
    const lastGood = this.ends.findLastIndex((end) => end.verdict === 'works');
    const bad = this.ends.slice(lastGood + 1).filter((end) => end.verdict === 'fails' && end.at > now - windowMs);
    if (verdict === 'fails' && bad.length >= failures) open(openMs);
  }
}

it('does what a list of everything that happened says, whatever happens in whatever order [verifies tools.limits.breaker]', () => {
  fc.assert(
    fc.property(rules, fc.array(step, { maxLength: 80, size: 'max' }), (given, steps) => {
      const model = new Model(given);
      let state: BreakerState = closedBreaker;
      let now = 0;
      const under: { readonly pass: BreakerPass; readonly age: number }[] = [];
      for (const next of steps) {
        if (next.type === 'wait') now += next.ms;
        else if (next.type === 'ask') {
          const may = model.mayPass(now);
          const answer = askBreaker(state, now);
          expect(answer.type).toBe(may ? 'passed' : 'refused');
          if (answer.type === 'refused') {
            expect(answer.retryAfterMs).toBeGreaterThan(0);
            if (model.phase === 'open') expect(answer.retryAfterMs).toBe(model.againAt - now);
            continue;
          }
          if (model.phase === 'open') model.turn('trying');
          state = answer.state;
          under.push({ pass: answer.pass, age: model.age });
        } else {
          const [ended] = under.splice(next.at % Math.max(1, under.length), 1);
          if (ended === undefined) continue;
          state = tellBreaker(state, ended.pass, next.verdict, now, given);
          model.ended(ended.age, next.verdict, now);
        }
        expect(state.type).toBe(model.phase);
      }
    }),
    { numRuns: 500 },
  );
});

it('lets one through when its time is over, and all once that one went well [verifies tools.limits.breaker]', () => {
  const given = { failures: 2, windowMs: 1_000, openMs: 100 };
  const fail = (state: BreakerState, now: number) => {
    const answer = askBreaker(state, now);
    return answer.type === 'refused' ? state : tellBreaker(answer.state, answer.pass, 'fails', now, given);
  };
  const open = fail(fail(closedBreaker, 0), 10);
  expect(askBreaker(open, 60)).toEqual({ type: 'refused', retryAfterMs: 50 });
  const tried = askBreaker(open, 110);
  if (tried.type === 'refused') throw new Error('it is refused');
  expect(askBreaker(tried.state, 111).type).toBe('refused');
  expect(tellBreaker(tried.state, tried.pass, 'fails', 120, given)).toMatchObject({ type: 'open', untilMs: 220 });
  expect(tellBreaker(tried.state, tried.pass, 'works', 120, given)).toMatchObject({ type: 'closed', failedAt: [] });
});
