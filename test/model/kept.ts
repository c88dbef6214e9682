import type { CommitStep, Step } from './steps.ts';

const start = { do: 'start', at: 0, worker: 0, whileBusy: 'wait', here: false, limit: null, keyed: false } as const;
const drive = (what: Extract<CommitStep, { do: 'drive' }>['what']) => ({ do: 'drive', at: 0, what, stale: '' }) as const;
const claim = { do: 'claim', worker: 0, limit: 1 } as const;
const alive = { do: 'heartbeat', worker: 0, ms: 60_000 } as const;
const person = (what: 'answer' | 'cancel' | 'resume' | 'wake', at = 0) => ({ do: what, at }) as const;
const places = { scope: 'tenant', at: 0, unit: 'tokens', window: 'total', slow: false } as const;
const reserve = { do: 'reserve', at: 0, slow: false, calls: 0, price: 0, wallMs: null, whole: true, isBeside: false } as const;
const dying = { do: 'heartbeat', worker: 0, ms: 20 } as const;

/** Sequences that a store once took otherwise than its model, and some that chance makes seldom. */
export const kept: readonly Step[][] = [
  // A sub-agent that comes to be in the transaction by which its run begins to wait works in the session all the same.
  [start, alive, claim, drive('call'), start, { do: 'together', steps: [drive('child')] }],
  // A run that got on is counted no deaths of before.
  [
    ...[start, dying, claim, { do: 'clock', ms: 30_000 } as const, { ...alive, worker: 1 }, { ...claim, worker: 1 }],
    ...[drive('call'), { do: 'clock', ms: 61_000 } as const, { ...alive, worker: 2 }, { ...claim, worker: 2 }],
  ],
  // A run that waits for an agent and is interrupted has work to do from then on, also in the transaction in which its agent rests.
  [
    start,
    alive,
    claim,
    drive('call'),
    drive('child'),
    claim,
    drive('call'),
    { do: 'together', steps: [{ ...start, whileBusy: 'interrupt' }, drive('ask')] },
  ],
  // Five of six tokens are free, and the sixth is held by another: whoever may wait is given none.
  [
    { do: 'limit', ...places, limit: 50, byOwner: false },
    { ...reserve, min: 20, more: 25 },
    { ...reserve, min: 1, more: 5 },
  ],
  // What is given back after midnight leaves the day before as it was, also for whoever's clock is still in it.
  [
    { ...reserve, whole: false, min: 1, more: 0 },
    { do: 'limit', ...places, window: 'day', limit: 1, byOwner: false },
    { do: 'charge', at: 0, amount: 0, slow: false, heir: false },
    { do: 'clock', ms: 2_000_000 },
    { do: 'settle', at: 0, amount: 0, slow: false, heir: false },
    { ...reserve, slow: true, whole: false, min: 1, more: 0 },
  ],
  // An answer that comes while its run works again makes it due as soon as it waits.
  [start, alive, claim, drive('call'), drive('ask'), person('wake'), claim, person('answer', 1), drive('ask')],
  // A run that was to stop, failed and is resumed is not to stop any more.
  [start, alive, claim, person('cancel'), drive('fail'), person('resume')],
  // An earlier turn goes on after a later one has ended: the next is told of both, in the order of the log.
  [
    ...[start, alive, claim, drive('call'), drive('ask'), start, claim, drive('say'), person('answer', 1), claim],
    ...[drive('result'), drive('result'), drive('say'), start, claim, drive('say')],
  ],
];
