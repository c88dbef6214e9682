import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTurns, type Holder, type Ticket, type TurnPlace, type Turns } from './turns.ts';

interface Caller {
  readonly holder: Holder;
  readonly order: number;
}

const keyOf = ({ tenantId, sessionId, runId }: Holder) => `${tenantId}/${sessionId}/${runId}`;
/** Of a tenant, a session or a run: how many of these holders lie in it. */
const within = (holders: readonly Holder[], part: string) => holders.filter((holder) => `${keyOf(holder)}/`.startsWith(part)).length;

/** A queue, and what is known of it without looking inside. */
function open(places: number, spare: number) {
  const turns: Turns<Caller> = createTurns({ places, spare });
  const waiting: Ticket<Caller>[] = [];
  const held: { readonly caller: Caller; readonly place: TurnPlace<Caller> }[] = [];
  const served: Caller[] = [];
  let joined = 0;
  const remove = <Item>(list: Item[], at: number): Item | undefined => list.splice(at % Math.max(1, list.length), 1)[0];

  function note(caller: Caller, place: TurnPlace<Caller>) {
    held.push({ caller, place });
    served.push(caller);
  }

  return {
    turns,
    waiting,
    held,
    served,
    holders: () => held.map(({ caller }) => caller.holder),
    callers: () => waiting.map(({ waiter }) => waiter),
    enter(holder: Holder) {
      const caller = { holder, order: joined++ };
      const place = turns.take(holder);
      if (place === null) waiting.push(turns.join(holder, caller));
      else note(caller, place);
      return caller;
    },
    leave(at: number) {
      const ticket = remove(waiting, at);
      if (ticket === undefined) return;
      expect(turns.leave(ticket)).toBe(true);
      expect(turns.leave(ticket)).toBe(false);
    },
    release(at: number) {
      const own = remove(held, at);
      if (own === undefined) return;
      turns.release(own.place);
      turns.release(own.place);
    },
    serve(onTurn: (caller: Caller) => void = () => undefined): void {
      for (let turn = turns.next(); turn !== null; turn = turns.next()) {
        const { waiter, place } = turn;
        onTurn(waiter);
        const at = waiting.findIndex((ticket) => ticket.waiter === waiter);
        expect(turns.leave(waiting[at] as Ticket<Caller>)).toBe(false); // it is found: whoever is served has waited
        waiting.splice(at, 1);
        note(waiter, place);
      }
    },
  };
}

const name = (letters: string) => fc.constantFrom(...letters);
const holder = fc.record({ tenantId: name('abc'), sessionId: name('xy'), runId: name('12') });
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant('enter' as const), holder }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('leave' as const), at: fc.nat(50) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('release' as const), at: fc.nat(50) }) },
);
const steps = fc.array(step, { maxLength: 120 });

function take(queue: ReturnType<typeof open>, next: typeof step extends fc.Arbitrary<infer Step> ? Step : never): void {
  if (next.type === 'enter') queue.enter(next.holder);
  else if (next.type === 'leave') queue.leave(next.at);
  else queue.release(next.at);
}

describe('turns, whatever comes, leaves and ends [verifies queue.turns]', () => {
  it('lose nobody and no place, and leave none free that somebody waits for', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 3 }), fc.nat(2), (all, places, spare) => {
        const queue = open(places, spare);
        for (const next of all) {
          take(queue, next);
          queue.serve();
          const { turns, waiting } = queue;
          expect({ inUse: turns.inUse, waiting: turns.waiting }).toEqual({ inUse: queue.held.length, waiting: waiting.length });
          expect(turns.inUse).toBeLessThanOrEqual(places + spare);
          if (waiting.length > 0) expect(turns.inUse).toBeGreaterThanOrEqual(places);
          for (const tenantId of 'abc') {
            expect(turns.waitingOf(tenantId)).toBe(queue.callers().filter((caller) => caller.holder.tenantId === tenantId).length);
            if (turns.waitingOf(tenantId) > 0 && within(queue.holders(), `${tenantId}/`) === 0) expect(turns.inUse).toBe(places + spare);
          }
        }
        while (queue.held.length > 0) {
          queue.release(0);
          queue.serve();
        }
        expect(queue.waiting).toEqual([]);
        expect({ inUse: queue.turns.inUse, waiting: queue.turns.waiting }).toEqual({ inUse: 0, waiting: 0 });
      }),
    );
  });

  it('serve a run in the order in which it asked', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 3 }), fc.nat(2), (all, places, spare) => {
        const queue = open(places, spare);
        for (const next of all) {
          take(queue, next);
          queue.serve();
        }
        const runs = Map.groupBy(queue.served, (caller) => keyOf(caller.holder));
        for (const callers of runs.values()) {
          const orders = callers.map(({ order }) => order);
          expect(orders).toEqual(orders.toSorted((a, b) => a - b));
        }
      }),
    );
  });

  it('go to whoever has least: of tenants, of the sessions of one, of the runs of one', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 4 }), (all, places) => {
        const queue = open(places, 0);
        for (const next of all) {
          take(queue, next);
          queue.serve((caller) => {
            const { tenantId, sessionId } = caller.holder;
            const had = queue.holders();
            for (const level of ['', `${tenantId}/`, `${tenantId}/${sessionId}/`]) {
              const partOf = (one: Holder) => `${keyOf(one).split('/').slice(0, level.split('/').length).join('/')}/`;
              const rivals = queue.callers().filter((other) => `${keyOf(other.holder)}/`.startsWith(level));
              const least = Math.min(...rivals.map((other) => within(had, partOf(other.holder))));
              expect(within(had, partOf(caller.holder))).toBe(least);
            }
          });
        }
      }),
    );
  });

  it('starve nobody: among any that ask again and again, one is served after at most one turn of each', () => {
    fc.assert(
      fc.property(
        fc.array(holder, { minLength: 1, maxLength: 12 }),
        holder,
        fc.array(fc.nat(20), { maxLength: 30 }),
        (greedy, mouse, ends) => {
          const queue = open(1, 0);
          for (const one of [...greedy, ...greedy]) queue.enter(one);
          for (const at of ends) {
            queue.release(at);
            queue.serve();
          }
          const caller = queue.enter(mouse);
          const before = queue.callers().filter((other) => keyOf(other.holder) === keyOf(mouse)).length;
          const most = before * (3 * 2 * 2);
          let turns = 0;
          while (!queue.served.includes(caller) && turns <= most) {
            const [first] = queue.held;
            queue.release(0);
            queue.serve();
            // Whoever ended asks again, twice.
            if (first !== undefined && keyOf(first.caller.holder) !== keyOf(mouse))
              for (let again = 0; again < 2; again++) queue.enter(first.caller.holder);
            turns += 1;
          }
          expect(turns).toBeLessThanOrEqual(most);
        },
      ),
    );
  });
});

it('lets a run with one program go before the rest of a run with a hundred, in the same session', () => {
  const queue = open(2, 0);
  for (let program = 0; program < 100; program++) queue.enter({ tenantId: 'a', sessionId: 'x', runId: 'long' });
  const own = queue.enter({ tenantId: 'a', sessionId: 'x', runId: 'short' });
  queue.release(0);
  queue.serve();
  expect(queue.served.at(-1)).toBe(own);
});
