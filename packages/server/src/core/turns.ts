/** Who wants a place: tenants take turns, within a tenant its sessions do, within a session its runs. */
export interface Holder {
  readonly tenantId: string;
  readonly sessionId: string;
  /** Left out: all of the session are one. */
  readonly runId?: string | undefined;
}

export interface TurnPlaces {
  /** Places that one tenant may have all of while nobody else wants one. */
  readonly places: number;
  /**
   * Further places for whoever has none: all of them for a tenant that has none, all but one for a session or run that has none, of which
   * a tenant has one at a time. So nobody waits behind what another does for long.
   */
  readonly spare: number;
}

/** Somebody in the queue, until it leaves or has its turn. */
export interface Ticket<Waiter> {
  readonly waiter: Waiter;
  readonly run: Branch<Waiter>;
}

/** A place that somebody has, until it is given up. */
export interface TurnPlace<Waiter> {
  readonly run: Branch<Waiter>;
}

/**
 * A fair queue for a number of places, as a decision: it holds no clock, promise or callback, and gives nobody a place by itself.
 * Whoever has the fewest places goes first, of tenants, then of the sessions of that tenant, then of the runs of that session; of equals
 * the one whose last turn is longest ago. Within a run it is first come, first served. Joining, leaving and giving up take constant
 * time; a turn looks no further than the first one that has nothing.
 */
export interface Turns<Waiter> {
  readonly inUse: number;
  readonly waiting: number;
  waitingOf(tenantId: string): number;
  /** A place at once: none of the same run waits, and one is free for it. */
  take(holder: Holder): TurnPlace<Waiter> | null;
  join(holder: Holder, waiter: Waiter): Ticket<Waiter>;
  /** Out of the queue. False: it was not in it any more. */
  leave(ticket: Ticket<Waiter>): boolean;
  /** Gives a place up, once. Whoever calls this asks for the next turn. */
  release(place: TurnPlace<Waiter>): void;
  /** The one whose turn it is, with the place that it has from now on; null when nobody waits that a place is free for. */
  next(): { readonly waiter: Waiter; readonly place: TurnPlace<Waiter> } | null;
}

/** A tenant, a session or a run. It is known for as long as something of it runs or waits. */
class Branch<Waiter> {
  readonly parent: Branch<Waiter> | null;
  readonly key: string;
  running = 0;
  waiting = 0;
  /** In the order of their turns: whoever has had one goes to the end. */
  readonly children = new Map<string, Branch<Waiter>>();
  /** Of a run, in order of their coming. */
  readonly tickets = new Set<Ticket<Waiter>>();

  constructor(parent: Branch<Waiter> | null, key: string) {
    this.parent = parent;
    this.key = key;
  }

  child(key: string): Branch<Waiter> {
    const known = this.children.get(key);
    if (known !== undefined) return known;
    const made = new Branch(this, key);
    this.children.set(key, made);
    return made;
  }

  /** Adds to what runs and waits here and in all that it is part of; what is left with nothing is forgotten. */
  count(running: number, waiting: number): void {
    this.running += running;
    this.waiting += waiting;
    this.parent?.count(running, waiting);
    if (this.running === 0 && this.waiting === 0) this.parent?.children.delete(this.key);
  }

  /** It has had its turn, and so have those that it is part of. */
  goLast(): void {
    if (this.parent === null) return;
    this.parent.children.delete(this.key);
    this.parent.children.set(this.key, this);
    this.parent.goLast();
  }

  /** Of those of which somebody waits and that `may`, the one with the fewest places. */
  least(may: (child: Branch<Waiter>) => boolean = () => true): Branch<Waiter> | null {
    let best: Branch<Waiter> | null = null;
    for (const child of this.children.values()) {
      if (child.waiting === 0 || (best !== null && child.running >= best.running) || !may(child)) continue;
      best = child;
      if (child.running === 0) break;
    }
    return best;
  }
}

export function createTurns<Waiter>({ places, spare }: TurnPlaces): Turns<Waiter> {
  const all = new Branch<Waiter>(null, '');
  const given = new Set<TurnPlace<Waiter>>();

  const runOf = ({ tenantId, sessionId, runId = '' }: Holder) => all.child(tenantId).child(sessionId).child(runId);

  function isFree(run: Branch<Waiter>): boolean {
    const session = run.parent;
    const tenant = session?.parent;
    if (all.running < places) return true;
    if (session == null || tenant == null || all.running >= places + spare) return false;
    if (tenant.running === 0) return true;
    const hasNone = session.running === 0 || run.running === 0;
    return hasNone && tenant.running <= places && all.running < places + spare - 1;
  }

  function give(run: Branch<Waiter>): TurnPlace<Waiter> {
    const place = { run };
    given.add(place);
    run.count(1, 0);
    return place;
  }

  /** Of a tenant: the run that is next, if a place is free for it. */
  function nextOf(tenant: Branch<Waiter>): Branch<Waiter> | null {
    const run = tenant.least()?.least() ?? null;
    return run !== null && isFree(run) ? run : null;
  }

  return {
    get inUse() {
      return all.running;
    },
    get waiting() {
      return all.waiting;
    },
    waitingOf: (tenantId) => all.children.get(tenantId)?.waiting ?? 0,
    take(holder) {
      const run = runOf(holder);
      if (run.waiting > 0 || !isFree(run)) {
        run.count(0, 0);
        return null;
      }
      const place = give(run);
      run.goLast();
      return place;
    },
    join(holder, waiter) {
      const run = runOf(holder);
      const ticket = { waiter, run };
      run.tickets.add(ticket);
      run.count(0, 1);
      return ticket;
    },
    leave(ticket) {
      if (!ticket.run.tickets.delete(ticket)) return false;
      ticket.run.count(0, -1);
      return true;
    },
    release(place) {
      if (given.delete(place)) place.run.count(-1, 0);
    },
    next() {
      if (all.waiting === 0 || all.running >= places + spare) return null;
      const tenant = all.least((candidate) => nextOf(candidate) !== null);
      const run = tenant === null ? null : nextOf(tenant);
      const [ticket] = run?.tickets ?? [];
      if (run === null || ticket === undefined) return null;
      run.tickets.delete(ticket);
      const place = give(run);
      run.count(0, -1);
      run.goLast();
      return { waiter: ticket.waiter, place };
    },
  };
}
